"""A loss that is not finite because a teacher was not is laid to the teacher, and any other one is not."""

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.events import Outcome
from engine.method import Batch, Logs, Method, Phase
from engine.spec.cards import Needs
from engine.spec.run_spec import Cadence, ModelRef
from tests.engine.tiny import Taught, TinyTask, run_tiny, tiny_card, tiny_spec


class Overflowing(nn.Module):
    """Finite weights, and logits that are not finite from some call on."""

    def __init__(self, value: float, *, from_call: int = 1) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.value, self.from_call, self.calls = value, from_call, 0

    def forward(self, inputs: Tensor) -> Any:
        self.calls += 1
        logits = self.layer(inputs)
        return logits + self.value if self.calls >= self.from_call else logits


def taught_by(teacher: Callable[[], nn.Module], method_class: type[Method], folder: Path) -> Outcome:
    """A run whose architecture `strange` is this network; its teacher is one, and its student is not."""

    class Task(TinyTask):
        card = TinyTask.card

        def new_model(self, architecture: str, config: Mapping[str, Any]) -> nn.Module:
            return teacher() if config.get("hidden") == [6] else super().new_model(architecture, config)

    spec = tiny_spec(method_class, teachers=[ModelRef(name="net", config={"hidden": [6]})], cadence=Cadence(evaluate=1000))
    return run_tiny(folder, method_class, spec=spec, task_class=Task)


def blamed(step: int, term: str = "loss") -> str:
    return (
        f"teachers.0: net put out NaN or infinity by step {step}, and so {term} became nan; choose another teacher, or float32 as precision "
        "where it is lower."
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_teacher_that_overflows_is_named_with_its_field(value: float, tmp_path: Path) -> None:
    outcome = taught_by(lambda: Overflowing(value, from_call=5), Taught, tmp_path)

    assert outcome == Outcome("failed", 5, blamed(5), "teachers.0")


class Distant(Taught):
    """Asks the teacher about all rows before the first step, and answers in a dict."""

    card = tiny_card("distant", teachers=Needs("classifier", trained_weights=False))

    def build(self) -> None:
        super().build()
        self.answers = torch.zeros(20, 3)

    def phases(self) -> Iterator[Phase]:
        yield Phase("train", self.step, self.budget.steps, begin=self.ask)

    def ask(self) -> None:
        self.answers.copy_(self.teacher(self.task.splits["train"].inputs)["logits"])

    def step(self, batch: Batch) -> Logs:
        loss = F.cross_entropy(self.student(batch.inputs), self.answers[batch.index].softmax(dim=1))
        self.update(self.optimizer, loss)
        return {"loss": loss}


class InADict(Overflowing):
    def forward(self, inputs: Tensor) -> Any:
        return {"logits": super().forward(inputs), "hidden": None}


def test_what_a_teacher_was_asked_before_the_first_step_counts_too(tmp_path: Path) -> None:
    outcome = taught_by(lambda: InADict(float("nan")), Distant, tmp_path)

    assert outcome.reason == blamed(1)


class Hot(Taught):
    """The student's own loss overflows; the teacher's logits are finite, but for a class that is impossible."""

    card = tiny_card("hot", teachers=Needs("classifier", trained_weights=False))

    def step(self, batch: Batch) -> Logs:
        terms = super().step(batch)
        return {**terms, "loss/own": terms["loss"] * (float("inf") if self.position.step == 3 else 1.0)}


class Impossible(Overflowing):
    def forward(self, inputs: Tensor) -> Any:
        logits: Tensor = super().forward(inputs)
        return logits.masked_fill(torch.tensor([False, True, False]), float("-inf"))


def test_a_loss_that_overflows_by_itself_is_not_laid_to_the_teacher(tmp_path: Path) -> None:
    outcome = taught_by(lambda: Impossible(0.0), Hot, tmp_path)

    assert outcome.reason.startswith("loss/own became inf at step 4. The last good checkpoint is kept; try a lower learning rate")


class Copying(Hot):
    """Spoils a copy that it makes of its teacher after the run has begun."""

    card = tiny_card("copying", teachers=Needs("classifier", trained_weights=False))

    def build(self) -> None:
        super().build()
        self.copy = copy.deepcopy(self.teacher)

    def phases(self) -> Iterator[Phase]:
        yield Phase("train", self.step, self.budget.steps, begin=self.spoil)

    @torch.no_grad()
    def spoil(self) -> None:
        self.copy = copy.deepcopy(self.teacher)
        next(self.copy.parameters()).fill_(float("nan"))

    def step(self, batch: Batch) -> Logs:
        assert self.copy(batch.inputs).isnan().any()
        return super().step(batch)


def test_a_copy_of_a_teacher_is_not_taken_for_it(tmp_path: Path) -> None:
    outcome = taught_by(lambda: Overflowing(0.0), Copying, tmp_path)

    assert outcome.reason.startswith("loss/own became inf at step 4. ")
