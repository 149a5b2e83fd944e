"""A run goes on with a larger budget: in the phase that was its last one, on the schedules of the new length, and its model says so."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.events import Log, Metrics, Outcome, PhaseStarted
from engine.method import Method, Phase
from engine.run import checkpoint
from engine.spec.cards import TrainingSettings
from engine.spec.run_spec import Budget, Cadence, RunSpec
from tests.engine.tiny import Everything, Plain, Watcher, run_tiny, student_bytes, tiny_card, tiny_spec


class Generations(Plain):
    """Two phases, each as long as the budget."""

    def phases(self) -> Iterator[Phase]:
        yield Phase("first", self.step, self.budget.steps)
        yield Phase("second", self.step, self.budget.steps)


def newest(folder: Path) -> Path:
    found = checkpoint.newest(folder)
    assert found is not None
    return found


def gone_on(folder: Path, spec: RunSpec, method_class: type[Method] = Plain, watcher: Watcher | None = None) -> Outcome:
    """Goes on from the newest checkpoint of `folder`/before, in `folder`/after."""
    return run_tiny(folder / "after", method_class, watcher=watcher, spec=spec, resume=newest(folder / "before"))


def rates(watcher: Watcher) -> dict[int, float]:
    return {event.step: event.values["learning_rate"] for event in watcher.of(Metrics) if "learning_rate" in event.values}


def test_a_run_that_has_ended_makes_the_further_steps_of_its_last_phase(tmp_path: Path) -> None:
    before, after = Watcher(), Watcher()
    run_tiny(tmp_path / "before", watcher=before, spec=tiny_spec(steps=12))

    outcome = gone_on(tmp_path, tiny_spec(steps=20), watcher=after)

    assert (outcome.status, outcome.step) == ("succeeded", 20), outcome.reason
    assert [step for step, _ in after.terms()] == list(range(13, 21))
    assert after.of(PhaseStarted) == [PhaseStarted("train", 0, 1, 12, 20)]
    assert student_bytes(tmp_path / "after") != student_bytes(tmp_path / "before")


def test_the_schedule_is_that_of_the_new_length_from_the_step_of_resumption_on(tmp_path: Path) -> None:
    cosine: dict[str, Any] = {"settings": {"schedule": "cosine", "learning_rate": 1.0}, "cadence": Cadence(evaluate=1)}
    whole, before, after = Watcher(), Watcher(), Watcher()
    run_tiny(tmp_path / "whole", watcher=whole, spec=tiny_spec(steps=24, **cosine))
    run_tiny(tmp_path / "before", watcher=before, spec=tiny_spec(steps=12, **cosine))

    gone_on(tmp_path, tiny_spec(steps=24, **cosine), watcher=after)

    assert rates(before)[7] == pytest.approx(0.5)  # its seventh update is half way of twelve: ½(1 + cos(π·6/12))
    assert rates(after)[13] == pytest.approx(0.5)  # and here the thirteenth is half way of twenty-four
    assert rates(after) == {step: rate for step, rate in rates(whole).items() if step > 12}


def test_with_a_constant_rate_a_run_that_was_lengthened_equals_one_that_was_as_long_from_the_start(tmp_path: Path) -> None:
    constant = {"settings": {"schedule": "constant"}}
    run_tiny(tmp_path / "whole", spec=tiny_spec(steps=20, **constant))
    run_tiny(tmp_path / "before", spec=tiny_spec(steps=12, **constant))

    gone_on(tmp_path, tiny_spec(steps=20, **constant))

    assert student_bytes(tmp_path / "after") == student_bytes(tmp_path / "whole")


def test_phases_begin_and_end_once_though_the_last_one_is_gone_back_into(tmp_path: Path) -> None:
    whole, after = Watcher(), Watcher()
    run_tiny(tmp_path / "before", Everything, spec=tiny_spec(Everything, steps=18))
    run_tiny(tmp_path / "whole", Everything, watcher=whole, spec=tiny_spec(Everything, steps=30))

    outcome = gone_on(tmp_path, tiny_spec(Everything, steps=30), Everything, after)  # its finish() counts

    assert outcome.status == "succeeded", outcome.reason
    assert [step for step, _ in after.terms()] == list(range(19, 31))
    assert after.of(PhaseStarted) == [PhaseStarted("train", 3, 4, 18, 21)]


@pytest.mark.parametrize("stopped_at", [2, 8, 14])
def test_a_stopped_run_may_be_lengthened_too(stopped_at: int, tmp_path: Path) -> None:
    before, after = Watcher(), Watcher()
    run_tiny(tmp_path / "before", Everything, watcher=before, spec=tiny_spec(Everything, steps=18), stop=before.stop_after(stopped_at))

    outcome = gone_on(tmp_path, tiny_spec(Everything, steps=24), Everything, after)

    assert (outcome.status, outcome.step) == ("succeeded", 24), outcome.reason
    assert [step for step, _ in after.terms()] == list(range(stopped_at + 1, 25))


def test_what_was_done_is_logged_and_stands_in_the_models_file(tmp_path: Path) -> None:
    watcher = Watcher()
    run_tiny(tmp_path / "before", spec=tiny_spec(steps=12))
    gone_on(tmp_path, tiny_spec(steps=20), watcher=watcher)
    (tmp_path / "after").rename(tmp_path / "second")

    run_tiny(tmp_path / "third", spec=tiny_spec(budget=Budget(epochs=8)), resume=newest(tmp_path / "second"))

    said = "Goes on after step 12 with a budget of 20 steps; it was 12 steps. "
    assert [event.text for event in watcher.of(Log)] == [
        f"{said}From here on the learning rate and all other schedules are those of a run of the new length."
    ]
    meta, first = (json.loads((tmp_path / name / "student/model.json").read_text()) for name in ("third", "before"))
    assert [(each["from_step"], each["steps"], each["epochs"]) for each in meta["budgets"]] == [
        (0, 12, None),
        (12, 20, None),
        (20, None, 8),
    ]
    assert "budgets" not in first


def test_a_run_that_ran_out_of_time_goes_on_with_more_of_it(tmp_path: Path) -> None:
    short, after = Budget(steps=40_000_000, seconds=0.3), Watcher()
    first = run_tiny(tmp_path / "before", Generations, spec=tiny_spec(Generations, budget=short))

    second = run_tiny(
        tmp_path / "after",
        Generations,
        watcher=after,
        spec=tiny_spec(Generations, budget=Budget(steps=40_000_000, seconds=0.6)),
        resume=newest(tmp_path / "before"),
    )

    assert first.reason == f"The limit of 0.3 seconds ended training after step {first.step}."
    assert second.reason == f"The limit of 0.6 seconds ended training after step {second.step}."
    assert second.step > first.step
    assert after.of(PhaseStarted)[0] == PhaseStarted("first", 0, 2, first.step, 40_000_000)


@pytest.mark.parametrize(
    ("before", "now", "sentence"),
    [
        ({"steps": 12}, {"steps": 11}, "12 steps, this run has 11 steps."),
        ({"epochs": 4}, {"steps": 11}, "4 epochs, this run has 11 steps."),
        ({"steps": 12}, {"steps": 24, "seconds": 5.0}, "12 steps, this run has 24 steps and at most 5 seconds."),
        ({"epochs": 1, "seconds": 60.0}, {"epochs": 2, "seconds": 59.5}, "1 epoch and at most 60 seconds, this run has 2 epochs and at most 59.5 seconds."),
    ],
)  # fmt: skip
def test_a_smaller_budget_is_refused(before: dict[str, Any], now: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    run_tiny(tmp_path / "before", spec=tiny_spec(budget=Budget(**before)))

    outcome = gone_on(tmp_path, tiny_spec(budget=Budget(**now)))

    assert outcome.status == "failed"
    assert outcome.refused
    assert outcome.reason == (
        f"The checkpoint at {newest(tmp_path / 'before')} is of a run with {sentence} A run that goes on may have a larger budget, and no "
        "smaller one."
    )


def test_the_same_length_said_otherwise_is_no_other_budget(tmp_path: Path) -> None:
    before, after = Watcher(), Watcher()
    run_tiny(tmp_path / "whole", spec=tiny_spec(steps=12))
    run_tiny(tmp_path / "before", watcher=before, spec=tiny_spec(steps=12), stop=before.stop_after(5))

    gone_on(tmp_path, tiny_spec(budget=Budget(epochs=4)), watcher=after)

    assert after.of(Log) == []
    assert student_bytes(tmp_path / "after") == student_bytes(tmp_path / "whole")


def test_a_phase_that_is_over_is_not_lengthened(tmp_path: Path) -> None:
    run_tiny(tmp_path / "before", Generations, spec=tiny_spec(Generations, steps=6))

    outcome = gone_on(tmp_path, tiny_spec(Generations, steps=9), Generations)

    assert outcome.reason == (
        f"The checkpoint at {newest(tmp_path / 'before')} is behind a phase of plain that a larger budget makes longer; go on from an earlier "
        "one, or start anew with 9 steps."
    )


def as_earlier_code_wrote_it(folder: Path) -> None:
    """The last checkpoint lay behind the last phase, and said nothing of budgets."""

    def change(state: dict[str, Any]) -> None:
        state["place"] |= {"phase_index": state["place"]["phase_index"] + 1, "phase_step": 0, "phase_steps": None, "begun": False}
        del state["place"]["budgets"]

    rewrite(folder, change)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes a checkpoint's state, and seals it again."""
    file = newest(folder) / "state.json"
    sealed = json.loads(file.read_text())
    state = json.loads(sealed["body"])
    change(state)
    body = json.dumps(state)
    file.write_text(json.dumps({**sealed, "body": body, "sha256": hashlib.sha256(body.encode()).hexdigest()}))


def test_the_last_checkpoint_of_earlier_code_is_gone_on_from_where_there_was_one_phase(tmp_path: Path) -> None:
    run_tiny(tmp_path / "before", spec=tiny_spec(steps=12))
    run_tiny(tmp_path / "today", spec=tiny_spec(steps=20), resume=newest(tmp_path / "before"))
    as_earlier_code_wrote_it(tmp_path / "before")

    outcome = gone_on(tmp_path, tiny_spec(steps=20))

    assert outcome.status == "succeeded", outcome.reason
    assert student_bytes(tmp_path / "after") == student_bytes(tmp_path / "today")


def test_the_last_checkpoint_of_earlier_code_is_refused_where_its_phase_has_an_end(tmp_path: Path) -> None:
    run_tiny(tmp_path / "before", Everything, spec=tiny_spec(Everything, steps=18))
    as_earlier_code_wrote_it(tmp_path / "before")

    outcome = gone_on(tmp_path, tiny_spec(Everything, steps=24), Everything)

    assert outcome.reason == (
        f"The checkpoint at {newest(tmp_path / 'before')} is of a run that has ended; go on from the one before it, or start anew."
    )


class SettingsOfToday(TrainingSettings):
    batch_size: int = 8
    sharpness: float = 1.5


class Today(Plain):
    """The method has a setting more than when the checkpoint was written."""

    card = replace(tiny_card("plain"), settings=SettingsOfToday)


@pytest.mark.parametrize(
    ("sharpness", "refused"),
    [({}, ""), ({"sharpness": 1.5}, ""), ({"sharpness": 2.0}, "its settings.sharpness is 1.5, this run's is 2.0.")],
)
def test_a_setting_that_was_added_later_had_its_declared_default_before(sharpness: dict[str, float], refused: str, tmp_path: Path) -> None:
    watcher = Watcher()
    run_tiny(tmp_path / "whole", spec=tiny_spec())
    run_tiny(tmp_path / "before", watcher=watcher, spec=tiny_spec(), stop=watcher.stop_after(5))

    outcome = gone_on(tmp_path, tiny_spec(settings=sharpness), Today)

    assert outcome.status == ("failed" if refused else "succeeded")
    assert outcome.reason.endswith(refused)
    assert refused or student_bytes(tmp_path / "after") == student_bytes(tmp_path / "whole")


def test_a_field_that_was_added_later_had_its_declared_default_before(tmp_path: Path) -> None:
    watcher = Watcher()
    run_tiny(tmp_path / "before", watcher=watcher, spec=tiny_spec(), stop=watcher.stop_after(5))

    rewrite(tmp_path / "before", lambda state: state["spec"].pop("precision"))
    same = run_tiny(tmp_path / "after", spec=tiny_spec(), resume=newest(tmp_path / "before"))
    another = gone_on(tmp_path, tiny_spec(precision="bfloat16"))

    assert same.status == "succeeded", same.reason
    assert another.reason.endswith("is of another run: its precision is 'float32', this run's is 'bfloat16'.")


def test_a_checkpoint_of_a_later_version_is_refused_with_the_field_that_is_new_there(tmp_path: Path) -> None:
    run_tiny(tmp_path / "before")
    rewrite(tmp_path / "before", lambda state: state["spec"].update(dreams=3))

    outcome = gone_on(tmp_path, tiny_spec())

    assert outcome.reason == f"The checkpoint at {newest(tmp_path / 'before')} is of another version: its dreams is not known here."
