"""What of a method comes back from its state, and with which sentence a state that does not fit is refused."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.errors import CheckpointError, NonFiniteError
from engine.method import Method
from engine.run.assembly import assemble
from engine.run.serializer import StateSerializer
from engine.run.state import capture, check_finite, modules_of, restore
from engine.spec.cards import Needs
from engine.spec.run_spec import ModelRef
from tests.engine.tiny import Plain, Taught, TinyTask, tiny_card, tiny_spec

Saved = tuple[Mapping[str, Any], dict[str, Tensor]]


class Keeper(Plain):
    """Keeps what a test gives it as `kept`."""

    card = tiny_card("keeper")
    made = staticmethod(lambda: nn.Linear(2, 1))

    def build(self) -> None:
        super().build()
        self.kept: Any = self.made()


def new(method_class: type[Method] = Keeper, **fields: Any) -> Any:
    return assemble(
        tiny_spec(method_class, **fields),
        {},
        method_class=method_class,
        task_class=TinyTask,
        log=lambda text: None,
        save_table=lambda name, content: None,
        save_tensors=lambda name, tensors, meta: None,
    ).method


def keeping(made: Any) -> Any:
    return new(type("Keeper", (Keeper,), {"made": staticmethod(made)}))


def saved(method: Method) -> Saved:
    """Its state as a checkpoint holds it."""
    serializer = StateSerializer()
    return json.loads(json.dumps(capture(method, serializer))), serializer.tensors


def normed() -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout())
    module.register_buffer("calls", torch.zeros(()), persistent=False)
    return module


def test_all_that_a_step_can_change_in_a_module_comes_back() -> None:
    first, second = keeping(normed), keeping(normed)
    net = first.kept
    net(torch.randn(4, 2)).square().sum().backward()
    net.calls += 5
    net[1].eval()
    net[0].weight.requires_grad_(False)

    second.kept[0].weight.grad = torch.ones(3, 2)
    restore(second, *saved(first))

    back = second.kept
    assert all(torch.equal(one, other) for one, other in zip(net.state_dict().values(), back.state_dict().values(), strict=True))
    assert float(back.calls) == 5
    assert [part.training for part in back.modules()] == [True, True, False, True]
    assert [parameter.requires_grad for parameter in back.parameters()] == [False, True, True, True]
    assert [parameter.grad.tolist() for parameter in back.parameters()] == [parameter.grad.tolist() for parameter in net.parameters()]


def test_a_gradient_that_was_not_there_is_gone_after_a_restart() -> None:
    first, second = new(), new()
    second.kept.weight.grad = torch.ones(1, 2)

    restore(second, *saved(first))

    assert second.kept.weight.grad is None


def test_an_optimizer_goes_on_with_its_moments() -> None:
    first, second = new(), new()
    rows = torch.randn(5, 4)
    for _ in range(3):
        first.update(first.optimizer, first.student(rows).square().sum())

    restore(second, *saved(first))

    for method in (first, second):
        method.update(method.optimizer, method.student(rows).square().sum())
    for one, other in zip(first.student.parameters(), second.student.parameters(), strict=True):
        assert torch.equal(one, other)
    assert first.learning_rates == second.learning_rates


@pytest.mark.parametrize(
    ("made", "now", "sentence"),
    [
        (lambda: nn.Linear(2, 1), lambda: nn.Linear(3, 1), "Error(s) in loading state_dict for Linear:"),
        (lambda: nn.Linear(2, 1), lambda: nn.Linear(2, 1, bias=False), "Error(s) in loading state_dict for Linear:"),
        (lambda: 1, lambda: nn.Linear(2, 1), ""),
        (lambda: 1, torch.Generator, ""),
    ],
)
def test_a_state_of_another_shape_or_kind_is_refused_by_the_attributes_name(made: Any, now: Any, sentence: str) -> None:
    written, method = saved(keeping(made)), keeping(now)
    if sentence:
        with pytest.raises(CheckpointError) as refusal:
            restore(method, *written)
        assert str(refusal.value) == f"The checkpoint does not fit kept of keeper: {sentence}"
        return

    restore(method, *written)

    assert method.kept == 1


class More(Keeper):
    card = tiny_card("keeper")

    def build(self) -> None:
        super().build()
        self.added = 0


class Renamed(Keeper):
    """What earlier code called `kept` it calls `head`."""

    card = tiny_card("keeper")

    def build(self) -> None:
        Plain.build(self)
        self.head = nn.Linear(2, 1)

    @classmethod
    def upgraded_state(cls, saved: Mapping[str, Any]) -> Mapping[str, Any]:
        return {{"kept": "head"}.get(name, name): value for name, value in saved.items()}


@pytest.mark.parametrize(("writer", "reader"), [(Keeper, More), (More, Keeper)])
def test_an_attribute_that_only_one_of_the_two_has_is_named(writer: type[Method], reader: type[Method]) -> None:
    with pytest.raises(CheckpointError) as refusal:
        restore(new(reader), *saved(new(writer)))

    assert str(refusal.value) == "The checkpoint was written by another version of keeper: added is in only one of the two."


def test_a_state_of_earlier_code_is_read_under_todays_names() -> None:
    first, second = new(Keeper), new(Renamed)

    restore(second, *saved(first))

    assert torch.equal(second.head.weight, first.kept.weight)


def test_a_value_is_put_into_the_object_that_others_hold() -> None:
    first, second = keeping(lambda: {"seen": [1, 2], "at": (3, torch.ones(2))}), keeping(lambda: {"seen": [], "at": None})
    held = second.kept

    restore(second, *saved(first))

    assert second.kept is held
    assert held["seen"] == [1, 2]
    assert (type(held["at"]), held["at"][0], held["at"][1].tolist()) == (tuple, 3, [1, 1])


# Weights that are no numbers


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_no_number_is_named_with_its_step(value: float) -> None:
    method = keeping(lambda: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)))
    with torch.no_grad():
        method.kept[0].bias[1] = value

    with pytest.raises(NonFiniteError) as error:
        check_finite(method, step=9)

    assert (error.value.term, error.value.step) == ("the weight kept.0.bias", 9)


def test_large_weights_empty_ones_and_modules_without_any_are_no_reason_to_end_a_run() -> None:
    method = keeping(lambda: nn.ModuleList([nn.Linear(2, 1), nn.ReLU(), nn.Embedding(0, 3)]))
    with torch.no_grad():
        method.kept[0].weight.fill_(3e38)

    check_finite(method, step=1)
    check_finite(keeping(nn.ReLU), step=1)


class FrozenTeacher(Taught):
    card = tiny_card("frozen-teacher", teachers=Needs("classifier", trained_weights=False))

    def build(self) -> None:
        super().build()
        self.guide = self.teacher


class LearningTeacher(FrozenTeacher):
    card = tiny_card("learning-teacher", teachers=Needs("classifier", trained_weights=False, access="trained"))

    def build(self) -> None:
        super().build()
        self.head = nn.Linear(1, 1)


def test_a_frozen_teacher_is_left_out_under_every_name_and_still_a_module_of_the_method() -> None:
    method = new(FrozenTeacher, teachers=[ModelRef(name="net")])

    written, _ = saved(method)

    assert set(written) == {"student", "generator", "optimizer"}
    assert {id(module) for module in modules_of(method)} == {id(method.student), id(method.teacher)}
    assert len(modules_of(method)) == 2


def test_a_teacher_that_learns_is_in_the_state_and_comes_back() -> None:
    first, second = (new(LearningTeacher, teachers=[ModelRef(name="net")]) for _ in range(2))
    with torch.no_grad():
        first.teacher[1].weight.fill_(7)

    restore(second, *saved(first))

    assert "teachers.0" in saved(first)[0]
    assert bool((second.teacher[1].weight == 7).all())
    assert second.guide is second.teacher
    assert [type(module).__name__ for module in modules_of(second)] == ["Sequential", "Sequential", "Linear"]  # the teacher once
