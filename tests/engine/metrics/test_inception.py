"""Inception's network, the file of its weights, and distances in its space. The published weights are not at hand: those of these tests are
random, and laid out as the published ones are."""

import functools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from engine.errors import ModelError, SpecError
from engine.events import Evaluation
from engine.evidence.experiment import ONLY_AT_THE_END
from engine.metrics import inception
from engine.metrics.inception import BlockA, BlockC, BlockE, Inception
from engine.run.runner import execute
from engine.spec.run_spec import RunSpec
from engine.tasks.digits_images.card import Options
from engine.tasks.digits_images.task import DigitsImages
from engine.tasks.fixed_classifier import Classifier
from engine.tasks.task import Split
from tests.engine.tiny import Watcher

VARIABLE = "STILLHOUSE_INCEPTION_WEIGHTS"

# Every convolution of the published state dict: what comes in, what goes out, and the kernel's height and width.
STEM = {
    "Conv2d_1a_3x3": (3, 32, 3, 3),
    "Conv2d_2a_3x3": (32, 32, 3, 3),
    "Conv2d_2b_3x3": (32, 64, 3, 3),
    "Conv2d_3b_1x1": (64, 80, 1, 1),
    "Conv2d_4a_3x3": (80, 192, 3, 3),
}
A = {
    "branch1x1": ("in", 64, 1, 1),
    "branch5x5_1": ("in", 48, 1, 1),
    "branch5x5_2": (48, 64, 5, 5),
    "branch3x3dbl_1": ("in", 64, 1, 1),
    "branch3x3dbl_2": (64, 96, 3, 3),
    "branch3x3dbl_3": (96, 96, 3, 3),
    "branch_pool": ("in", "free", 1, 1),
}
B = {
    "branch3x3": ("in", 384, 3, 3),
    "branch3x3dbl_1": ("in", 64, 1, 1),
    "branch3x3dbl_2": (64, 96, 3, 3),
    "branch3x3dbl_3": (96, 96, 3, 3),
}
C = {
    "branch1x1": ("in", 192, 1, 1),
    "branch7x7_1": ("in", "free", 1, 1),
    "branch7x7_2": ("free", "free", 1, 7),
    "branch7x7_3": ("free", 192, 7, 1),
    "branch7x7dbl_1": ("in", "free", 1, 1),
    "branch7x7dbl_2": ("free", "free", 7, 1),
    "branch7x7dbl_3": ("free", "free", 1, 7),
    "branch7x7dbl_4": ("free", "free", 7, 1),
    "branch7x7dbl_5": ("free", 192, 1, 7),
    "branch_pool": ("in", 192, 1, 1),
}
D = {
    "branch3x3_1": ("in", 192, 1, 1),
    "branch3x3_2": (192, 320, 3, 3),
    "branch7x7x3_1": ("in", 192, 1, 1),
    "branch7x7x3_2": (192, 192, 1, 7),
    "branch7x7x3_3": (192, 192, 7, 1),
    "branch7x7x3_4": (192, 192, 3, 3),
}
E = {
    "branch1x1": ("in", 320, 1, 1),
    "branch3x3_1": ("in", 384, 1, 1),
    "branch3x3_2a": (384, 384, 1, 3),
    "branch3x3_2b": (384, 384, 3, 1),
    "branch3x3dbl_1": ("in", 448, 1, 1),
    "branch3x3dbl_2": (448, 384, 3, 3),
    "branch3x3dbl_3a": (384, 384, 1, 3),
    "branch3x3dbl_3b": (384, 384, 3, 1),
    "branch_pool": ("in", 192, 1, 1),
}
BLOCKS = {
    "Mixed_5b": (A, 192, 32),
    "Mixed_5c": (A, 256, 64),
    "Mixed_5d": (A, 288, 64),
    "Mixed_6a": (B, 288, 0),
    "Mixed_6b": (C, 768, 128),
    "Mixed_6c": (C, 768, 160),
    "Mixed_6d": (C, 768, 160),
    "Mixed_6e": (C, 768, 192),
    "Mixed_7a": (D, 768, 0),
    "Mixed_7b": (E, 1280, 0),
    "Mixed_7c": (E, 2048, 0),
}


def published() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published file's tensors."""
    convolutions = dict(STEM)
    for block, (kinds, given, free) in BLOCKS.items():
        known = {"in": given, "free": free}
        convolutions |= {f"{block}.{name}": tuple(known.get(size, size) for size in shape) for name, shape in kinds.items()}
    shapes: dict[str, tuple[int, ...]] = {"fc.weight": (1008, 2048), "fc.bias": (1008,)}
    for name, (given, out, height, width) in convolutions.items():
        shapes[f"{name}.conv.weight"] = (out, given, height, width)
        shapes |= {f"{name}.bn.{each}": (out,) for each in ("weight", "bias", "running_mean", "running_var")}
    return shapes


@functools.cache
def weights() -> dict[str, Tensor]:
    """Random ones under the published names, at which no activation dies or explodes."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, shape in published().items():
        fan_in = shape[1] * shape[2] * shape[3] if len(shape) == 4 else 1
        drawn = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        found[name] = drawn if len(shape) == 4 else drawn.abs() * 0.1 + 0.5 if name.endswith(("bn.weight", "running_var")) else drawn * 0.05
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "inception.safetensors"
    save_file(weights(), path)
    return path


def test_its_weights_have_the_published_names_and_shapes_but_for_the_classifier():
    state = {name: tuple(tensor.shape) for name, tensor in Inception().state_dict().items() if not name.endswith("num_batches_tracked")}

    assert state == {name: shape for name, shape in published().items() if not name.startswith("fc.")}


def test_it_has_as_many_weights_as_the_published_network():
    """Keras counts 23,817,352 to be trained without a scale in batch normalization, 17,216 of which there are; 2,049,000 are its classifier's."""
    assert sum(parameter.numel() for parameter in Inception().parameters()) == 23_817_352 + 17_216 - 2_049_000


def filled(block: torch.nn.Module) -> torch.nn.Module:
    """With random weights and statistics, in float64 and in eval mode."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in block.double().state_dict().items():
        if tensor.is_floating_point():
            drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn / tensor[0].numel() ** 0.5)
    return block.eval()


def plain(block: torch.nn.Module, name: str, x: Tensor) -> Tensor:
    """A convolution as a sum over its kernel's places, then (x − mean)/√(var + 0.001)·weight + bias, then what is above 0."""
    state = {key.removeprefix(f"{name}."): value for key, value in block.state_dict().items() if key.startswith(f"{name}.")}
    kernel = state["conv.weight"]
    height, width = kernel.shape[2:]
    around = F.pad(x, (width // 2, width // 2, height // 2, height // 2))
    made = sum(
        torch.einsum("bchw,oc->bohw", around[:, :, i : i + x.shape[2], j : j + x.shape[3]], kernel[:, :, i, j])
        for i in range(height)
        for j in range(width)
    )
    mean, var, scale, shift = (state[f"bn.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias"))
    return ((made - mean) / (var + 0.001).sqrt() * scale + shift).clamp(min=0)


def chain(block: torch.nn.Module, x: Tensor, *names: str) -> Tensor:
    for name in names:
        x = plain(block, name, x)
    return x


def around(x: Tensor, of) -> Tensor:
    """What `of` says of the values within one of each place; what lies beyond the border is not there."""
    found = torch.empty_like(x)
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            found[:, :, i, j] = of(x[:, :, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].flatten(2))
    return found


def mean(values: Tensor) -> Tensor:
    return values.mean(dim=2)


def largest(values: Tensor) -> Tensor:
    return values.amax(dim=2)


def picture(channels: int) -> Tensor:
    return torch.randn(2, channels, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_first_blocks_are_written_out_with_averages_that_do_not_count_the_border():
    block, x = filled(BlockA(6, 32)), picture(6)

    expected = [
        chain(block, x, "branch1x1"),
        chain(block, x, "branch5x5_1", "branch5x5_2"),
        chain(block, x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
        chain(block, around(x, mean), "branch_pool"),
    ]
    assert torch.allclose(block(x), torch.cat(expected, dim=1), atol=1e-12)


def test_the_middle_blocks_are_written_out():
    block, x = filled(BlockC(6, 4)), picture(6)

    expected = [
        chain(block, x, "branch1x1"),
        chain(block, x, *[f"branch7x7_{number}" for number in (1, 2, 3)]),
        chain(block, x, *[f"branch7x7dbl_{number}" for number in (1, 2, 3, 4, 5)]),
        chain(block, around(x, mean), "branch_pool"),
    ]
    assert torch.allclose(block(x), torch.cat(expected, dim=1), atol=1e-12)


@pytest.mark.parametrize(("last", "of"), [(False, mean), (True, largest)])
def test_the_last_blocks_are_written_out_and_the_very_last_takes_the_maximum(last, of):
    block, x = filled(BlockE(6, last=last)), picture(6)

    three, double = chain(block, x, "branch3x3_1"), chain(block, x, "branch3x3dbl_1", "branch3x3dbl_2")
    expected = [
        chain(block, x, "branch1x1"),
        chain(block, three, "branch3x3_2a"),
        chain(block, three, "branch3x3_2b"),
        chain(block, double, "branch3x3dbl_3a"),
        chain(block, double, "branch3x3dbl_3b"),
        chain(block, around(x, of), "branch_pool"),
    ]
    assert torch.allclose(block(x), torch.cat(expected, dim=1), atol=1e-12)


def test_scales_are_those_of_the_published_network(file):
    """35, 17 and 8 pixels a side."""
    network, sides = inception.load(file), {}
    for name in ("Mixed_5d", "Mixed_6e", "Mixed_7c"):
        getattr(network, name).register_forward_hook(lambda module, given, made, name=name: sides.update({name: tuple(made.shape[1:])}))

    features = network(torch.zeros(1, 3, 299, 299))

    assert sides == {"Mixed_5d": (288, 35, 35), "Mixed_6e": (768, 17, 17), "Mixed_7c": (2048, 8, 8)}
    assert features.shape == (1, 2048)
    assert not any(parameter.requires_grad for parameter in network.parameters()) and not network.training


def test_pictures_are_rounded_to_the_levels_of_a_file_made_gray_in_three_channels_and_enlarged_linearly():
    pictures = torch.tensor([[-1.0, 1.0], [0.0039, 7.0]])[None, None]

    found = inception.prepared(pictures)

    assert found.shape == (1, 3, 299, 299)
    assert torch.equal(found[:, 0], found[:, 2])
    # 0.0039 is level (0.0039 + 1)·127.5 = 127.997 → 128 of 255, and 7 is held at 1. A pixel of 2 by 2 is as wide as 149.5, the middle column
    # lies half-way, and places beyond the outermost middles repeat them.
    assert float(found[0, 0, 0, 0]) == -1.0
    assert float(found[0, 0, -1, 0]) == pytest.approx(128 / 127.5 - 1, abs=1e-6)
    assert float(found[0, 0, -1, -1]) == 1.0
    assert float(found[0, 0, 0, 149]) == pytest.approx(0.0, abs=1e-6)
    place = (75.5 / 149.5) - 0.5  # of column 75, in pixels of 2 by 2
    assert float(found[0, 0, 0, 75]) == pytest.approx(-1 + 2 * place, abs=1e-5)


def test_an_extractor_is_identified_by_its_weights(file, tmp_path):
    other = {**weights(), "Conv2d_1a_3x3.bn.bias": weights()["Conv2d_1a_3x3.bn.bias"] + 1e-3}
    save_file(other, tmp_path / "other.safetensors")

    hashes = [inception.extractor_of(inception.load(path)).hash for path in (file, file, tmp_path / "other.safetensors")]

    assert hashes[0] == hashes[1] != hashes[2]


# The file


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as refused:
        inception.load(path)
    return str(refused.value)


def test_counters_of_batches_may_be_in_the_file_or_not(tmp_path):
    counters = {f"{name.removesuffix('.weight')}.num_batches_tracked": torch.tensor(0) for name in weights() if name.endswith("bn.weight")}
    save_file({**weights(), **counters}, tmp_path / "counted.safetensors")

    network = inception.load(tmp_path / "counted.safetensors")

    assert torch.equal(network.Conv2d_1a_3x3.conv.weight, weights()["Conv2d_1a_3x3.conv.weight"])


def test_a_file_that_is_not_there_is_refused(tmp_path):
    assert refusal(tmp_path / "gone.safetensors") == f"{VARIABLE} names {tmp_path}/gone.safetensors, which is no file on this worker."


def test_a_pickle_is_refused_with_how_to_convert_it_and_is_not_opened(tmp_path):
    (tmp_path / "pt_inception.pth").write_bytes(b"\x80\x02cos\nsystem\n")

    assert refusal(tmp_path / "pt_inception.pth") == (
        f"{VARIABLE} names {tmp_path}/pt_inception.pth, which is no safetensors file; a pickle can run code when it is opened. Convert it once, "
        "where you trust it: save_file(torch.load(FILE, weights_only=True), 'inception.safetensors'), with save_file of safetensors.torch."
    )


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00")

    assert refusal(tmp_path / "cut.safetensors").startswith(f"{VARIABLE} names {tmp_path}/cut.safetensors, which can't be read: ")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"Mixed_7c.branch_pool.conv.weight": None}, "Mixed_7c.branch_pool.conv.weight is in only one of the two."),
        ({"AuxLogits.fc.weight": torch.zeros(1)}, "AuxLogits.fc.weight is in only one of the two."),
        (
            {"Mixed_5b.branch1x1.bn.bias": torch.zeros(7)},
            "Mixed_5b.branch1x1.bn.bias has the shape [7] and not [64].",
        ),
    ],
)
def test_weights_of_another_network_are_refused_by_name(change, sentence, tmp_path):
    tensors = {name: tensor for name, tensor in {**weights(), **change}.items() if tensor is not None}
    save_file(tensors, tmp_path / "other.safetensors")

    assert refusal(tmp_path / "other.safetensors") == (
        f"{VARIABLE} names {tmp_path}/other.safetensors, whose weights are not those of pt_inception-2015-12-05: {sentence}"
    )


# Judging with it


def test_a_run_that_asks_for_it_where_the_worker_has_none_is_refused_with_its_field(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    spec = {"method": "denoising", "task": "digits-images", "task_options": {"features": "inception"}, "budget": {"steps": 1}}

    outcome = execute(RunSpec.parse(spec), Watcher(), tmp_path)

    assert (outcome.status, outcome.error) == ("failed", "task_options.features")
    assert outcome.reason == (
        "task_options.features: must be task on this worker, which has no Inception weights; whoever runs it names a safetensors file in "
        "STILLHOUSE_INCEPTION_WEIGHTS. Got 'inception'."
    )


def test_a_spec_can_not_name_a_file(file):
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "denoising", "task": "digits-images", "task_options": {"features": str(file)}})

    assert str(refused.value).startswith("task_options.features: must be one of 'task' or 'inception'; got ")


class FewDigits(DigitsImages):
    """Twelve samples, and the first six rows of each part: a picture takes a tenth of a second."""

    def __init__(self, options: Options, device: torch.device) -> None:
        super().__init__(options.model_copy(update={"samples": 12}), device)

    def examples(self) -> tuple[dict[str, Split], Classifier]:
        splits, classifier = super().examples()
        return {name: Split(split.inputs[:6], split.targets[:6]) for name, split in splits.items()}, classifier


def judged(features: str, folder: Path) -> Evaluation:
    """The final evaluation of a tiny run."""
    student = {"name": "edm-mlp", "config": {"width": 16, "blocks": 1, "sampler_steps": 2}}
    budget = {"steps": 2}
    fields = {
        "method": "denoising",
        "task": "digits-images",
        "student": student,
        "budget": budget,
        "cadence": ONLY_AT_THE_END,
        "threads": 1,
    }
    watcher = Watcher()
    outcome = execute(RunSpec.parse({**fields, "task_options": {"features": features}}), watcher, folder, task_class=FewDigits)
    assert outcome.status == "succeeded", outcome.reason
    return next(event for event in watcher.of(Evaluation) if event.split == "test")


def test_distances_are_measured_in_its_space_first_and_its_name_and_hash_are_shown(file, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(file))

    found, usual = (judged(features, tmp_path / features) for features in ("inception", "task"))

    cells, own = found.tables["distances"]["cells"], usual.tables["distances"]["cells"]
    assert [cell[0] for cell in cells] == ["inception-v3", "digits-pca-20", "digits-mlp-24"]
    assert cells[0][1:5] == [inception.extractor_of(inception.load(file)).hash[:12], 2048, 12, 6]
    assert found.metrics["fid_inception_v3"] == cells[0][5] > 0
    assert cells[0][6] > 0  # the floor
    assert cells[1:] == own
    assert {name for name in found.metrics if name not in usual.metrics} == {"fid_inception_v3"}
    moved = {name for name, value in usual.metrics.items() if value != found.metrics[name]}
    assert {"kid", "energy_distance", "nearest_distance", "diversity"} <= moved
    assert moved.isdisjoint({"fid_digits_pca_20", "fid_digits_mlp_24", "conditional_accuracy", "sample_variance"})
