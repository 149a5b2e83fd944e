"""Iterated self-distillation of networks: the loss of a generation, how one follows another, and what checkpoints hold."""

import json
import math

import pytest
import torch
from torch import Tensor

from engine.errors import SpecError
from engine.methods.teacher_guidance.generations import check_renewable, generation_loss, penalty, renew
from engine.models.build import build
from engine.run.runner import execute
from engine.run.serializer import StateSerializer
from engine.run.state import capture
from engine.spec.run_spec import RunSpec
from tests.engine.methods.harness import network, new_method, one_step, weights
from tests.engine.tiny import Watcher

GUIDED = "teacher-guidance"


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Networks


def test_the_loss_mixes_squared_errors_to_labels_and_to_the_generation_before():
    z, labels, p = drawn(0, 5, 3), torch.tensor([0, 2, 1, 1, 0]), drawn(1, 5, 3).softmax(dim=1)
    q, one_hot = z.softmax(dim=1), torch.eye(3, dtype=torch.float64)[labels]

    found = generation_loss(logits=z, labels=labels, teacher_probs=p, alpha=0.3)

    slow = sum(0.3 * (q[i, c] - one_hot[i, c]) ** 2 + 0.7 * (q[i, c] - p[i, c]) ** 2 for i in range(5) for c in range(3)) / 15
    assert found.item() == pytest.approx(slow.item(), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_its_gradient_is_that_of_finite_differences(alpha: float):
    labels, p = torch.tensor([0, 2, 1]), drawn(1, 3, 3).softmax(dim=1)

    assert torch.autograd.gradcheck(
        lambda z: generation_loss(logits=z, labels=labels, teacher_probs=p, alpha=alpha), drawn(0, 3, 3).requires_grad_()
    )


def test_without_ground_truth_labels_have_no_say_and_with_it_alone_the_teacher_has_none():
    z, p = drawn(0, 4, 3), drawn(1, 4, 3).softmax(dim=1)
    one, other = torch.tensor([0, 1, 2, 0]), torch.tensor([1, 2, 0, 1])

    def loss(labels: Tensor, probs: Tensor, alpha: float) -> float:
        return generation_loss(logits=z, labels=labels, teacher_probs=probs, alpha=alpha).item()

    assert loss(one, p, 0.0) == loss(other, p, 0.0)
    assert loss(one, p, 1.0) == loss(one, p.flip(1), 1.0)
    assert loss(one, p, 0.5) != loss(other, p, 0.5)


def test_norms_are_summed_over_tensors_unsquared_or_squared_and_a_zero_tensor_has_no_slope():
    tensors = [
        torch.nn.Parameter(torch.tensor([3.0, 4.0])),
        torch.nn.Parameter(torch.zeros(2)),
        torch.nn.Parameter(torch.tensor([[12.0, 5.0]])),
    ]

    plain, squared = penalty(tensors, kind="norm"), penalty(tensors, kind="squared")
    plain.backward()

    assert (plain.item(), squared.item()) == (18.0, 194.0)
    assert tensors[0].grad.tolist() == pytest.approx([0.6, 0.8])
    assert tensors[1].grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("builder", "config"),
    [
        ("mlp", {"inputs": 4, "hidden": [6, 5], "classes": 3}),
        ("narrow_cnn", {"channels": 1, "widths": [4, 6], "classes": 3}),
        ("resnet", {"channels": 1, "widths": [4, 8], "blocks": 1, "classes": 3}),
        ("word_bag", {"vocabulary": 20, "width": 4, "classes": 3}),
        ("bert", {"vocabulary": 20, "width": 4, "layers": 1, "heads": 2, "mlp_width": 8, "length": 6, "classes": 3}),
    ],
)
def test_a_network_made_new_in_place_is_the_one_that_its_seed_builds(builder: str, config: dict):
    network = build(builder, config)
    before, tensors = weights(network), [id(each) for each in network.parameters()]

    renew(network, 5, torch.device("cpu"))

    with torch.random.fork_rng():
        torch.manual_seed(5)
        built = build(builder, config)
    assert torch.equal(weights(network), weights(built))
    assert not torch.equal(weights(network), before)
    assert [id(each) for each in network.parameters()] == tensors


def test_making_a_network_new_draws_nothing_from_the_run():
    state = torch.get_rng_state()

    renew(network(1), 5, torch.device("cpu"))

    assert torch.equal(torch.get_rng_state(), state)


def test_a_network_that_cannot_be_made_new_is_refused():
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))

    with pytest.raises(SpecError) as refused:
        check_renewable(Odd())

    assert str(refused.value) == "student: its layer Odd can't be made new, and every generation starts anew."


def test_the_first_generation_learns_from_labels_and_the_norms():
    method = new_method(GUIDED, {"reg_coef": 0.01, "learning_rate": 0.1, "estimator": "fixed", "fits": 2})
    split, student = method.task.splits["train"], method.student
    q = student(split.inputs).softmax(dim=1)
    error = (q - torch.eye(3, dtype=torch.float64)[split.targets]).square().mean()
    expected = error + 0.01 * (student.weight.norm() + student.bias.norm())
    slope = torch.autograd.grad(expected, list(student.parameters()))
    before = weights(student)

    terms = one_step(method)

    assert terms["loss"] == pytest.approx(expected.item(), rel=1e-12)
    assert torch.allclose(weights(student), before - 0.1 * torch.cat([each.flatten() for each in slope]), atol=1e-12)


def test_later_generations_start_anew_and_learn_from_the_one_before():
    method = new_method(GUIDED, {"reg_coef": 0.0, "learning_rate": 0.5, "estimator": "fixed", "alpha": [0.3], "fits": 3})
    split = method.task.splits["train"]
    batch = split.take(torch.arange(len(split)))
    object.__setattr__(method.task, "judge", lambda *args, **more: _Judged())
    phases = list(method.phases())
    phases[0].begin()
    phases[0].step(batch)
    taught = method.student(split.inputs).softmax(dim=1).detach()
    phases[0].end()
    trained = weights(method.student)

    phases[1].begin()
    fresh = weights(method.student)
    q = method.student(split.inputs).softmax(dim=1)
    terms = phases[1].step(batch)

    one_hot = torch.eye(3, dtype=torch.float64)[split.targets]
    expected = 0.3 * (q - one_hot).square().mean() + 0.7 * (q - taught).square().mean()
    assert [phase.name for phase in phases] == ["generation 0", "generation 1", "generation 2"]
    assert not torch.equal(fresh, trained)
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-12)
    assert torch.equal(weights(method.previous), trained)
    assert not any(each.requires_grad for each in method.previous.parameters()) and not method.previous.training


class _Judged:
    metrics = {"accuracy": 0.5, "nll": 1.0, "ece": 0.1}
    tables: dict = {}


def test_the_formulas_share_comes_from_the_first_network_and_a_probe_without_ground_truth():
    method = new_method(GUIDED, {"reg_coef": 0.0, "learning_rate": 0.5, "fits": 2})
    split = method.task.splits["train"]
    batch = split.take(torch.arange(len(split)))
    object.__setattr__(method.task, "judge", lambda *args, **more: _Judged())
    first, probe, second = method.phases()
    first.begin(), first.step(batch), first.end()
    probe.begin(), probe.step(batch)
    u, v = (each(split.inputs).softmax(dim=1).detach() for each in (method.first, method.probe))
    truth = torch.eye(3, dtype=torch.float64)[split.targets]

    probe.end()
    second.begin()
    terms = second.step(batch)

    expected = float(((u - v) * (truth - v)).sum() / (u - v).square().sum())
    assert [phase.name for phase in (first, probe, second)] == ["generation 0", "probe 1", "generation 1"]
    assert method.unclipped == [None, pytest.approx(expected, rel=1e-9)]
    assert terms["alpha"].item() == pytest.approx(min(max(expected, 0), 1), rel=1e-6)


def test_every_generation_is_kept_and_the_best_is_named(tmp_path):
    watcher = Watcher()
    spec = RunSpec.parse(
        {
            "method": GUIDED,
            "task": "digits",
            "task_options": {"train_limit": 150},
            "settings": {"fits": 3, "estimator": "fixed", "alpha": [1.0, 0.5, 0.0]},
            "budget": {"epochs": 2},
            "cadence": {"evaluate": 1000},
            "threads": 1,
        }
    )

    assert execute(spec, watcher, tmp_path).status == "succeeded"

    table = json.loads((tmp_path / "tables/generations.json").read_text())
    assert [row[:2] for row in table["cells"]] == [[0, 1.0], [1, 0.5], [2, 0.0]]
    assert sum(row[-1] for row in table["cells"]) == 1
    kept = sorted(path.name for path in (tmp_path / "tensors").iterdir())
    assert kept == [f"generation-{number}.safetensors" for number in range(3)]
    assert [terms["alpha"] for _, terms in watcher.terms()][::6] == [1.0, 0.5, 0.0]
    assert all(math.isfinite(row[6]) for row in table["cells"][1:])


# Checkpoints

NETWORKS = (
    *("student", "generator", "kernel", "ridge", "optimizer", "previous", "first", "probe", "probe_optimizer"),
    *("alphas", "unclipped", "generation", "story"),
)
KERNEL = (
    *("student", "generator", "kernel", "labels", "truth", "cross", "values"),
    *("coefficients", "diagonals", "grids", "facts", "done"),
)


@pytest.mark.parametrize(("variant", "names"), [("deep", NETWORKS), ("kernel", KERNEL)])
def test_checkpoints_name_the_state_as_those_of_version_1_so_that_they_can_be_resumed(variant: str, names: tuple[str, ...]):
    method = new_method(GUIDED, {"variant": variant})

    assert sorted(capture(method, StateSerializer())) == sorted(names)


# What is refused


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"settings": {"estimator": "grid"}},
            "settings.estimator: must be closed_form or fixed for networks: a grid would train 21 of them in each generation; got 'grid'.",
        ),
        ({"settings": {"alpha": [0.1, 0.2]}}, "settings.alpha: must have one number, or one for each of the 5 fits; got 2."),
        (
            {"student": "run:00000000-0000-4000-8000-000000000001"},
            "student: must be an architecture, because every generation starts from random weights; got run:00000000-0000-4000-8000-000000000001.",
        ),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(fields, sentence):
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": GUIDED, "task": "digits", **fields})

    assert str(refused.value) == sentence
