"""Checkpoints on disk: whole or refused. Models on disk: the same."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from torch import nn

from engine.errors import CheckpointError, ModelError, StateError
from engine.run import checkpoint
from engine.run.export import load_model, save_model
from engine.run.serializer import StateSerializer, put_back, unpack
from tests.engine.tiny import TinyTask

CPU = torch.device("cpu")
META: dict[str, Any] = {
    "kind": "classifier",
    "task": "tiny",
    "builder": "mlp",
    "config": {"inputs": 4, "hidden": [5], "classes": 3},
    "architecture": "net",
    "classes": 3,
    "input_shape": [4],
    "method": "plain",
}


def snapshot(step: int = 7) -> checkpoint.Snapshot:
    return checkpoint.Snapshot(step, {"place": {"phase": 1}}, {"weight": torch.arange(1000.0)})


def net() -> nn.Module:
    return TinyTask.new_model(None, "net", META["config"])  # type: ignore[arg-type]


def packed_and_unpacked(value: Any) -> Any:
    serializer = StateSerializer()
    through_json = json.loads(json.dumps(serializer.pack(value, "value")))
    return unpack(through_json, serializer.tensors, CPU)


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
nested = st.recursive(
    plain, lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner), max_leaves=20
)


@given(nested)
def test_what_is_packed_comes_back_with_the_same_values_and_types(value: Any) -> None:
    assert repr(packed_and_unpacked(value)) == repr(value)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool, torch.complex64]
)
def test_a_tensor_comes_back_through_a_file_to_the_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    serializer, tensor = StateSerializer(), torch.tensor([0, 1, 1]).to(dtype)

    packed = serializer.pack({"a": (tensor, [tensor[:2]])}, "value")
    checkpoint.write(checkpoint.Snapshot(1, {"packed": packed}, serializer.tensors), tmp_path)
    read = checkpoint.read(tmp_path / "step-000000001")
    back = unpack(read.state["packed"], read.tensors, CPU)

    assert torch.equal(back["a"][0], tensor)
    assert back["a"][0].dtype == dtype
    assert torch.equal(back["a"][1][0], tensor[:2])


def test_an_array_and_a_scalar_of_numpy_come_back() -> None:
    array, scalar = packed_and_unpacked([np.array([1.5, 2.5]), np.float64(0.1)])

    assert array.tolist() == [1.5, 2.5]
    assert isinstance(array, np.ndarray)
    assert scalar == 0.1


def test_a_tensor_met_twice_is_stored_once() -> None:
    serializer, tensor = StateSerializer(), torch.ones(3)

    serializer.pack([tensor, tensor], "value")

    assert list(serializer.tensors) == ["value.0"]


def test_generators_whose_states_pass_through_the_same_memory_are_not_mixed_up() -> None:
    serializer = StateSerializer()
    generators = [torch.Generator().manual_seed(seed) for seed in range(20)]

    packed = [serializer.pack(generator.get_state(), f"generator.{at}") for at, generator in enumerate(generators)]

    for generator, state in zip(generators, packed, strict=True):
        assert torch.equal(unpack(state, serializer.tensors, CPU), generator.get_state())


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({1, 2}, "m.x is a set, which a checkpoint can't hold; keep a sorted list."),
        (np.random.default_rng(), "m.x is a Generator, which a checkpoint can't hold; draw from a torch.Generator."),
        ({"a": [object()]}, "m.x.a.0 is a object, which a checkpoint can't hold; "),
        ({(1, 2): 3}, "m.x has the key (1, 2), which a checkpoint can't hold; use text or whole numbers as keys."),
        (
            torch.ones(1, requires_grad=True) * 2,
            "m.x still carries the graph that computed it, which a checkpoint can't hold; keep x.detach().",
        ),
        (
            torch.eye(2).to_sparse(),
            "m.x is a tensor with layout torch.sparse_coo, which a checkpoint can't hold; keep a dense one (to_dense()).",
        ),
        (np.array(["a"]), "m.x is an array of <U1, which a checkpoint can't hold; keep numbers."),
    ],
)
def test_what_can_not_be_saved_is_refused_by_name_with_what_to_do(value: Any, sentence: str) -> None:
    with pytest.raises(StateError) as refusal:
        StateSerializer().pack(value, "m.x")

    assert str(refusal.value).startswith(sentence)


def test_restored_values_are_written_into_what_others_hold() -> None:
    tensor, inner = torch.zeros(2), [1, 2]
    current = {"tensor": tensor, "list": inner, "gone": 1}

    restored = put_back(current, {"tensor": torch.ones(2), "list": [3], "new": "text"})

    assert restored is current
    assert tensor.tolist() == [1, 1]
    assert inner == [3]
    assert set(current) == {"tensor", "list", "new"}


def test_a_tensor_that_grew_is_restored_into_the_same_object() -> None:
    tensor = torch.zeros(2)

    restored = put_back(tensor, torch.ones(3))

    assert restored is tensor
    assert tensor.tolist() == [1, 1, 1]


def test_a_checkpoint_reads_back_as_it_was_written(tmp_path: Path) -> None:
    folder = checkpoint.write(snapshot(), tmp_path)

    read = checkpoint.read(folder)

    assert folder.name == "step-000000007"
    assert (read.step, read.state) == (7, {"place": {"phase": 1}})
    assert torch.equal(read.tensors["weight"], torch.arange(1000.0))


def test_only_the_newest_two_are_kept_and_nothing_half_written_counts(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        checkpoint.write(snapshot(step), tmp_path / "checkpoints")
    (tmp_path / "checkpoints/.partial-000000020").mkdir()

    found = checkpoint.newest(tmp_path)

    assert found is not None
    assert found.name == "step-000000015"
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("step-*")) == ["step-000000010", "step-000000015"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("spoil", "file", "sentence"),
    [
        (Path.unlink, "tensors.safetensors", "There is no checkpoint at {folder}: tensors.safetensors is missing."),
        (Path.unlink, "state.json", "There is no checkpoint at {folder}: state.json is missing."),
        (
            truncate,
            "tensors.safetensors",
            "The checkpoint at {folder} is damaged: tensors.safetensors is truncated or was changed; choose an earlier one.",
        ),
        (
            flip_a_bit,
            "tensors.safetensors",
            "The checkpoint at {folder} is damaged: tensors.safetensors is truncated or was changed; choose an earlier one.",
        ),
        (truncate, "state.json", "The checkpoint at {folder} is damaged: state.json can't be read; choose an earlier one."),
        (
            lambda path: path.write_text("[]"),
            "state.json",
            "The checkpoint at {folder} is damaged: state.json can't be read; choose an earlier one.",
        ),
        (
            lambda path: path.write_text(path.read_text().replace('\\"step\\": 7', '\\"step\\": 9')),
            "state.json",
            "The checkpoint at {folder} is damaged: state.json was changed after it was written; choose an earlier one.",
        ),
        (
            lambda path: path.write_text(path.read_text().replace('"format": 1', '"format": 2')),
            "state.json",
            "The checkpoint at {folder} has format 2; this version reads format 1.",
        ),
    ],
)
def test_a_spoiled_checkpoint_is_refused_with_one_sentence(spoil: Any, file: str, sentence: str, tmp_path: Path) -> None:
    folder = checkpoint.write(snapshot(), tmp_path)
    spoil(folder / file)

    with pytest.raises(CheckpointError) as refusal:
        checkpoint.read(folder)

    assert str(refusal.value) == sentence.format(folder=folder)


def test_a_folder_that_is_not_there_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"There is no checkpoint at .*/nowhere: state\.json is missing"):
        checkpoint.read(tmp_path / "nowhere")


def test_the_writer_tells_what_became_durable_in_order(tmp_path: Path) -> None:
    with checkpoint.Writer(tmp_path) as writer:
        for step in (1, 2, 3):
            writer.submit(snapshot(step))
        writer.flush()
        finished = writer.finished()

    assert finished == [(step, tmp_path / f"step-{step:09d}") for step in (1, 2, 3)]
    assert not writer.busy


def test_a_model_comes_back_with_the_same_outputs(tmp_path: Path) -> None:
    model, rows = net(), torch.randn(6, 4)

    save_model(tmp_path / "student", model, META)
    loaded, meta = load_model(tmp_path / "student", card=TinyTask.card)

    assert torch.equal(loaded(rows), model(rows))
    assert meta["parameters"] == 43
    assert meta["method"] == "plain"


def test_a_saved_model_is_replaced_as_a_whole(tmp_path: Path) -> None:
    save_model(tmp_path / "student", net(), META)
    model = net()

    save_model(tmp_path / "student", model, META)

    loaded, _ = load_model(tmp_path / "student")
    assert torch.equal(loaded[1].weight, model[1].weight)  # type: ignore[index]
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_tied_parameters_are_stored_once(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight

    save_model(tmp_path / "student", model, META)

    with safe_open(tmp_path / "student/model.safetensors", "pt") as file:
        assert sorted(file.keys()) == ["0.bias", "0.weight", "1.bias"]


def changed(**fields: Any) -> Any:
    def change(folder: Path) -> None:
        path = folder / "model.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return change


def without(field: str) -> Any:
    def change(folder: Path) -> None:
        path = folder / "model.json"
        content = json.loads(path.read_text())
        del content[field]
        path.write_text(json.dumps(content))

    return change


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: (folder / "model.json").unlink(), "The model at {folder} is incomplete: model.json is missing."),
        (lambda folder: (folder / "model.safetensors").unlink(), "The model at {folder} is incomplete: model.safetensors is missing."),
        (
            lambda folder: truncate(folder / "model.safetensors"),
            "The model at {folder} is damaged: model.safetensors is truncated or was changed.",
        ),
        (lambda folder: truncate(folder / "model.json"), "The model at {folder} is damaged: model.json can't be read."),
        (without("classes"), "The model at {folder} is damaged: model.json has no classes."),
        (changed(format=2), "The model at {folder} has format 2; this version reads format 1."),
        (changed(kind="denoiser"), "The model at {folder} is a denoiser; the task tiny asks for a classifier."),
        (changed(classes=10), "The model at {folder} has 10 classes; the task tiny has 3."),
        (changed(input_shape=[1, 8, 8]), "The model at {folder} takes inputs of shape [1, 8, 8]; those of the task tiny have [4]."),
        (changed(builder="nothing"), "There is no architecture 'nothing'; "),
        (changed(config={"inputs": 4, "hidden": [], "classes": 3}), "The weights at {folder} do not fit its model.json: "),
        (changed(config={"inputs": 4, "hidden": [6], "classes": 3}), "The weights at {folder} do not fit its model.json: "),
    ],
)
def test_a_model_that_is_damaged_or_does_not_fit_is_refused_with_one_sentence(spoil: Any, sentence: str, tmp_path: Path) -> None:
    folder = tmp_path / "student"
    save_model(folder, net(), META)
    spoil(folder)

    with pytest.raises(ModelError) as refusal:
        load_model(folder, card=TinyTask.card)

    assert str(refusal.value).startswith(sentence.format(folder=folder))


@pytest.mark.parametrize("name", ["model.pt", "pytorch_model.bin", "weights.pkl", "epoch.ckpt"])
def test_a_pickle_is_refused_unopened(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04whatever")
    sentence = f"{name} is a pickle, which can run code when it is opened; export the model as model.safetensors with model.json."

    for path in (tmp_path, tmp_path / name):
        with pytest.raises(ModelError) as refusal:
            load_model(path)
        assert str(refusal.value) == sentence


def test_a_file_that_only_claims_to_be_safetensors_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "student"
    save_model(folder, net(), META)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 10**12) + b"{}")
    without("sha256")(folder)

    with pytest.raises(ModelError, match=r"is damaged: model\.safetensors can't be read"):
        load_model(folder)
