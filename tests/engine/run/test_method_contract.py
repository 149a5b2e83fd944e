"""What a method's author may rely on, and what is refused so that a resumed run is the same run."""

import dataclasses
import functools
import inspect
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import engine.method
from engine.errors import StateError
from engine.method import Batch, Method
from engine.run.assembly import assemble
from engine.run.serializer import StateSerializer
from engine.run.state import capture
from tests.engine.tiny import Plain, TinyTask, tiny_spec


def test_the_public_names_of_the_methods_page_are_these() -> None:
    """A new name is a decision: every method's author will have to know it."""
    names = {
        name
        for name, value in vars(engine.method).items()
        if getattr(value, "__module__", "") == "engine.method" and not name.startswith("_")
    }

    assert names == {"Batch", "Diagnostics", "Length", "Method", "MicroBatch", "Phase", "Position", "RunContext"}


def test_the_public_names_of_a_method_are_these() -> None:
    for_authors = {
        "build",
        "phases",
        "product",
        "blueprint",
        "reference",
        "diagnostics",
        "judged",
        "reads",
        "lengthened",
        "finish",
        "upgraded_state",
        "make_optimizer",
        "prepare",
        "update",
        "log",
        "save_table",
        "save_tensors",
    }
    to_look_at = {"task", "teacher", "teachers", "budget", "position", "device", "precision", "student_blueprint", "lineage"}
    for_the_runner = {"seal", "constants", "learning_rates", "scalers", "OWN"}

    assert {name for name in vars(Method) if not name.startswith("_")} == for_authors | to_look_at | for_the_runner


@pytest.mark.parametrize("member", [name for name, value in inspect.getmembers(Method) if not name.startswith("_") and name != "OWN"])
def test_every_public_member_of_a_method_is_documented(member: str) -> None:
    assert inspect.getdoc(getattr(Method, member))


@dataclass(frozen=True)
class Fixed:
    value: int


@dataclass
class Loose:
    value: int


def built(value: Any, method_class: type[Method] = Plain) -> Method:
    """A method that keeps `value` as its attribute `x`."""

    def build(self: Method) -> None:
        method_class.build(self)
        self.x = value  # type: ignore[attr-defined]

    keeper = type("Keeper", (method_class,), {"build": build})
    return assemble(
        tiny_spec(),
        {},
        method_class=keeper,
        task_class=TinyTask,
        log=lambda text: None,
        save_table=lambda name, content: None,
        save_tensors=lambda name, tensors, meta: None,
    ).method


@pytest.mark.parametrize(
    "value",
    [Fixed(1), abs, len, functools.partial(abs, 1), lambda: 0, torch.float32, torch.device("cpu"), Path("a"), nn.Linear, torch],
    ids=lambda value: type(value).__name__,
)
def test_constants_are_left_out_of_the_checkpoint(value: Any) -> None:
    method = built(value)

    assert "x" in method.constants
    assert "x" not in capture(method, StateSerializer())


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        0.5,
        "text",
        [1, [2]],
        {"a": (1, 2)},
        torch.ones(2),
        np.ones(2),
        nn.Linear(1, 1),
        torch.Generator(),
        torch.optim.SGD([torch.ones(1)]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_state_of_these_kinds_is_in_the_checkpoint(value: Any) -> None:
    assert "x" in capture(built(value), StateSerializer())


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (
            Loose(1),
            "Keeper.x is a Loose, which a checkpoint can't hold; keep its content in tensors, numbers, text, or lists and dicts of them, or give it state_dict and load_state_dict.",
        ),
        (random.Random(1), "Keeper.x is a Random, which a checkpoint can't hold; draw from a torch.Generator."),
        (deque([1]), "Keeper.x is a deque, which a checkpoint can't hold; keep a list or a tensor."),
        ({1, 2}, "Keeper.x is a set, which a checkpoint can't hold; keep a sorted list."),
        ([abs], "Keeper.x.0 is a builtin_function_or_method, which a checkpoint can't hold; "),
        (iter([1]), "Keeper.x is a list_iterator, which a checkpoint can't hold; "),
    ],
    ids=lambda value: type(value).__name__,
)
def test_state_that_can_not_be_saved_is_refused_when_build_ends(value: Any, sentence: str) -> None:
    with pytest.raises(StateError) as refusal:
        built(value)

    assert str(refusal.value).startswith(sentence)


def test_an_attribute_first_assigned_after_build_is_refused() -> None:
    method = built(1)

    with pytest.raises(StateError) as refusal:
        method.y = 2  # type: ignore[attr-defined]

    assert str(refusal.value) == "Keeper.y is first assigned after build(), so no checkpoint holds it; give it a first value in build()."


def test_a_constant_that_changes_after_build_is_refused() -> None:
    method = built(Fixed(1))

    with pytest.raises(StateError) as refusal:
        method.x = Fixed(2)  # type: ignore[attr-defined]

    assert (
        str(refusal.value)
        == "Keeper.x is a constant to a checkpoint and was changed after build(); keep what changes in tensors or JSON values."
    )


def test_state_that_becomes_a_constant_is_refused_at_the_next_checkpoint() -> None:
    method = built(None)
    method.x = abs  # type: ignore[attr-defined]

    with pytest.raises(StateError, match=r"Keeper\.x is a builtin_function_or_method, which a checkpoint can't hold"):
        capture(method, StateSerializer())


def test_an_update_leaves_the_gradients_of_other_networks_alone() -> None:
    method = built(nn.Linear(3, 1))
    head, rows = method.x, torch.ones(2, 4)  # type: ignore[attr-defined]
    before = [parameter.clone() for parameter in method.student.parameters()]

    method.update(method.optimizer, head(method.student(rows)).sum())  # type: ignore[attr-defined]

    assert all(parameter.grad is None for parameter in head.parameters())
    assert all(not torch.equal(old, new) for old, new in zip(before, method.student.parameters(), strict=True) if old.dim() > 1)


def clipped_norm(clip: float | None) -> float:
    method = scheduled("constant", gradient_clip=clip)
    before = [parameter.detach().clone() for parameter in method.student.parameters()]
    method.update(method.optimizer, 100 * method.student(torch.ones(2, 4)).sum())  # type: ignore[attr-defined]
    moved = [(new.detach() - old).flatten() for old, new in zip(before, method.student.parameters(), strict=True)]
    return float(torch.cat(moved).norm())


def test_the_gradient_is_clipped_to_its_largest_norm() -> None:
    assert clipped_norm(None) > 10
    assert clipped_norm(0.5) == pytest.approx(0.5, rel=1e-4)


RATES = {
    "constant": [1, 1, 1, 1, 1, 1, 1, 1],
    "cosine": [1, 0.961940, 0.853553, 0.691342, 0.5, 0.308658, 0.146447, 0.038060],  # ½(1 + cos(πn/8))
    "cosine-per-epoch": [1, 1, 1, 0.75, 0.75, 0.75, 0.25, 0.25],  # three epochs of three steps: ½(1 + cos(πe/3))
    "step": [1, 1, 1, 1, 1, 0.1, 0.01, 0.001],  # from 5, 6 and 7 of 8
    "step-50-75": [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01],
    "linear-tail": [1, 1, 1, 1, 1, 1, 0.833333, 0.416667],  # (1 − n/8) / 0.3 where that is below 1
}


def scheduled(schedule: str, **settings: Any) -> Method:
    """Plain SGD by a schedule over eight steps, three of them an epoch."""
    settings = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0, "schedule": schedule, **settings}
    return assemble(
        tiny_spec(steps=8, settings=settings),
        {},
        method_class=Plain,
        task_class=TinyTask,
        log=lambda text: None,
        save_table=lambda name, content: None,
        save_tensors=lambda name, tensors, meta: None,
    ).method


def rate_of_an_update(method: Method) -> float:
    """How far one step of SGD moves a weight whose gradient is 1."""
    bias = next(parameter for parameter in method.student.parameters() if parameter.dim() == 1)
    before = bias[0].item()
    method.update(method.optimizer, bias.sum())  # type: ignore[attr-defined]
    return before - bias[0].item()


@pytest.mark.parametrize("schedule", RATES)
def test_the_learning_rate_follows_its_schedule_and_the_rate_that_was_used_is_reported(schedule: str) -> None:
    method = scheduled(schedule)

    used, reported = [], []
    for _ in RATES[schedule]:
        used.append(rate_of_an_update(method))
        reported.append(method.learning_rates["optimizer"])

    assert used == pytest.approx(RATES[schedule], abs=1e-6)
    assert reported == pytest.approx(RATES[schedule], abs=1e-6)


@pytest.mark.parametrize("schedule", RATES)
def test_the_schedule_goes_on_from_the_state_of_the_optimizer_alone(schedule: str) -> None:
    method, resumed = scheduled(schedule), scheduled(schedule)
    for _ in range(6):
        rate_of_an_update(method)

    resumed.optimizer.load_state_dict(method.optimizer.state_dict())  # type: ignore[attr-defined]

    assert resumed.learning_rates["optimizer"] == pytest.approx(RATES[schedule][5], abs=1e-6)
    assert [rate_of_an_update(resumed) for _ in range(2)] == pytest.approx(RATES[schedule][6:], abs=1e-6)


def test_a_state_as_earlier_versions_wrote_it_goes_on_with_the_rate_of_the_next_update() -> None:
    # They counted in the same place, but the rate beside it was that of the update before; before the first one there was no count.
    method, untouched = scheduled("cosine"), scheduled("cosine")
    written = method.optimizer.state_dict()  # type: ignore[attr-defined]
    [group] = written["param_groups"]
    del group["initial_lr"]
    before_the_first = {**written, "param_groups": [{name: value for name, value in group.items() if name != "updates"}]}
    after_four = {**written, "param_groups": [{**group, "updates": 4, "lr": 0.691342}]}

    method.optimizer.load_state_dict(after_four)  # type: ignore[attr-defined]
    untouched.optimizer.load_state_dict(before_the_first)  # type: ignore[attr-defined]

    assert [rate_of_an_update(method) for _ in range(2)] == pytest.approx(RATES["cosine"][4:6], abs=1e-6)
    assert [rate_of_an_update(untouched) for _ in range(2)] == pytest.approx(RATES["cosine"][:2], abs=1e-6)


def test_an_update_that_the_loss_scaler_leaves_out_counts_for_the_schedule() -> None:
    method = scheduled("cosine")
    bias = next(parameter for parameter in method.student.parameters() if parameter.dim() == 1)
    scaled = dataclasses.replace(method._scheduled[method.optimizer], scaler=torch.amp.GradScaler("cpu"))  # type: ignore[attr-defined]
    before = bias.detach().clone()

    scaled.scaler.scale(bias.sum() * torch.inf).backward()
    scaled.step()

    assert torch.equal(bias, before)
    assert rate_of_an_update(method) == pytest.approx(RATES["cosine"][1], abs=1e-6)


def test_on_one_device_a_prepared_module_is_the_module_itself() -> None:
    method = built(None)

    assert method.prepare(method.student) is method.student


@pytest.mark.parametrize("cut", [lambda rows: rows, lambda rows: {"ids": rows, "mask": rows > 0}, lambda rows: (rows, rows + 1)])
def test_rows_of_a_batch_are_cut_whatever_its_inputs_are(cut: Callable[[torch.Tensor], Any]) -> None:
    batch = Batch(cut(torch.arange(5)), torch.arange(5) * 10, torch.arange(5) + 100)

    piece = batch.rows(1, 3)

    assert len(piece) == 2
    assert piece.index.tolist() == [101, 102]
    assert piece.targets.tolist() == [10, 20]
    assert str(piece.inputs) == str(cut(torch.arange(1, 3)))


def test_a_batch_may_have_no_targets() -> None:
    piece = Batch(torch.arange(4), None, torch.arange(4)).rows(0, 2)

    assert piece.targets is None
    assert piece.inputs.tolist() == [0, 1]
