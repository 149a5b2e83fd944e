"""When a run's models are judged, by which rows, and what a method hears of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.events import Evaluation, Log, Metrics
from engine.method import Batch, Diagnostics, Logs, Phase
from engine.spec.cards import Needs
from engine.spec.run_spec import Cadence, ModelRef
from tests.engine.tiny import Plain, Taught, Watcher, run_tiny, tiny_card, tiny_spec

NETS = [ModelRef(name="net", init_seed=1), ModelRef(name="net", init_seed=2)]


class Hears(Plain):
    """Keeps what it hears of its evaluations, and leaves it at the end of the run."""

    card = tiny_card("hears")

    def build(self) -> None:
        super().build()
        self.heard: list[Any] = []

    def judged(self, metrics: Mapping[str, float | None], *, final: bool) -> None:
        self.heard.append([self.position.step, final, sorted(metrics), torch.is_grad_enabled(), self.student.training])
        self.save_table("heard", self.heard)

    def diagnostics(self) -> Diagnostics:
        assert not self.student.training
        assert not torch.is_grad_enabled()
        return Diagnostics({"asked": 1.0})


def test_a_method_hears_of_each_evaluation_on_validation_rows_as_it_trains(tmp_path: Path) -> None:
    outcome = run_tiny(tmp_path, Hears, spec=tiny_spec(Hears, cadence=Cadence(evaluate=5)))

    heard = json.loads((tmp_path / "tables/heard.json").read_text())
    assert outcome.status == "succeeded", outcome.reason
    assert heard == [[step, step == 12, ["accuracy", "undefined"], True, True] for step in (5, 10, 12)]


def test_a_methods_own_numbers_are_those_of_validation_alone(tmp_path: Path) -> None:
    watcher = Watcher()

    run_tiny(tmp_path, Hears, watcher=watcher, spec=tiny_spec(Hears, cadence=Cadence(evaluate=12)))

    assert [(event.split, "asked" in event.metrics) for event in watcher.of(Evaluation)] == [("validation", True), ("test", False)]
    [series] = [event.values for event in watcher.of(Metrics) if "validation/accuracy" in event.values]
    assert set(series) == {"validation/accuracy", "diagnostics/asked", "learning_rate"}


class OfTwo(Plain):
    """Learns from the mean of its teachers."""

    card = tiny_card("of-two", teachers=Needs("classifier", at_most=2, trained_weights=False))


class Learning(Taught):
    card = tiny_card("learning", teachers=Needs("classifier", trained_weights=False, access="trained"))


class Guided(OfTwo):
    """Names the one of its teachers that it is compared with."""

    card = tiny_card("guided", teachers=Needs("classifier", at_most=2, trained_weights=False))

    def reference(self) -> nn.Module | None:
        return self.teachers[1]


@pytest.mark.parametrize(
    ("method", "teachers", "judged", "compared"),
    [
        (OfTwo, NETS, 0, False),  # of several teachers none is the reference
        (OfTwo, NETS[:1], 2, True),
        (Guided, NETS, 2, True),
        (Learning, NETS[:1], 0, True),  # a teacher that is trained has no result of its own
    ],
)
def test_a_teacher_is_judged_where_there_is_one_that_stays_as_it_is(
    method: type[Plain], teachers: list[ModelRef], judged: int, compared: bool, tmp_path: Path
) -> None:
    watcher = Watcher()

    run_tiny(tmp_path, method, watcher=watcher, spec=tiny_spec(method, teachers=teachers, cadence=Cadence(evaluate=6)))

    found = watcher.of(Evaluation)
    assert [event.subject for event in found].count("teacher") == judged
    assert all(event.final and "agreement" not in event.metrics for event in found if event.subject == "teacher")
    assert all(("agreement" in event.metrics) == compared for event in found if event.subject == "student")


class TwoRates(Plain):
    card = tiny_card("two-rates")

    def build(self) -> None:
        super().build()
        self.head = nn.Linear(4, 1)
        slower = self.settings.model_copy(update={"learning_rate": 0.5, "schedule": "constant"})
        self.head_optimizer = self.make_optimizer(self.head, slower)

    def step(self, batch: Batch) -> Logs:
        self.update(self.head_optimizer, self.head(batch.inputs).square().mean())
        return super().step(batch)


def test_of_several_optimizers_each_has_its_rate_by_name(tmp_path: Path) -> None:
    watcher = Watcher()

    run_tiny(tmp_path, TwoRates, watcher=watcher, spec=tiny_spec(TwoRates, settings={"schedule": "constant", "learning_rate": 0.25}))

    series = [event.values for event in watcher.of(Metrics) if "validation/accuracy" in event.values]
    rates = [{name: value for name, value in values.items() if name.startswith("learning_rate")} for values in series]
    assert rates == [{"learning_rate/optimizer": 0.25, "learning_rate/head_optimizer": 0.5}] * len(series)


class Quiet(Plain):
    """Is not to be judged while it warms up."""

    card = tiny_card("quiet")

    def phases(self) -> Any:
        yield Phase("warm", self.step, 6, evaluate=False)
        yield Phase("train", self.step, 6)


def test_a_phase_may_go_by_without_an_evaluation(tmp_path: Path) -> None:
    watcher = Watcher()

    run_tiny(tmp_path, Quiet, watcher=watcher, spec=tiny_spec(Quiet, cadence=Cadence(evaluate=2)))

    watched = [event.step for event in watcher.of(Evaluation) if not event.final]
    assert watched == [8, 10]


class Speaks(Plain):
    """Fails while it is judged, in the mode of an evaluation."""

    card = tiny_card("speaks")

    def diagnostics(self) -> Diagnostics:
        raise ValueError("no diagnosis")


def test_what_fails_in_an_evaluation_fails_the_run_at_its_step(tmp_path: Path) -> None:
    watcher = Watcher()

    outcome = run_tiny(tmp_path, Speaks, watcher=watcher, spec=tiny_spec(Speaks, cadence=Cadence(evaluate=4)))

    assert (outcome.status, outcome.step) == ("failed", 4)
    assert outcome.reason == "The method failed at step 4 of phase train: ValueError: no diagnosis"
    assert [log.level for log in watcher.of(Log)] == ["error"]
