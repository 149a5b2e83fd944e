"""Killed or stopped at any step and resumed, a run does what it would have done: the same terms, the same weights, bit for bit."""

import json
from pathlib import Path

import pytest

from engine.events import Artifact, Checkpoint, Evaluation, PhaseStarted, Progress
from engine.run import checkpoint
from engine.spec.run_spec import Budget, Cadence, ModelRef, RunSpec
from tests.engine.tiny import Everything, Killed, Plain, Taught, Watcher, kill, run_tiny, student_bytes, tiny_spec

STEPS = 18  # warm 1–4, count 5–6, dream 7–9, train 10–18: three epochs of three steps


@pytest.fixture(scope="module")
def undisturbed_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Watcher]:
    """Where the uninterrupted run is, and what it said."""
    workdir, watcher = tmp_path_factory.mktemp("undisturbed"), Watcher()
    outcome = run_tiny(workdir, Everything, watcher=watcher, spec=everything())
    assert outcome.status == "succeeded", outcome.reason
    return workdir, watcher


def everything(**fields: object) -> RunSpec:
    return tiny_spec(Everything, steps=STEPS, **fields)


@pytest.mark.parametrize("step", range(STEPS))
def test_a_run_stopped_at_any_step_and_resumed_elsewhere_equals_the_uninterrupted_one(
    step: int, undisturbed_run: tuple[Path, Watcher], tmp_path: Path
) -> None:
    whole, said = undisturbed_run
    before, after = Watcher(), Watcher()

    stopped = run_tiny(tmp_path / "a", Everything, watcher=before, spec=everything(), stop=before.stop_after(step))
    resume = checkpoint.newest(tmp_path / "a")
    finished = run_tiny(tmp_path / "b", Everything, watcher=after, spec=everything(), resume=resume)

    assert (stopped.status, stopped.step) == ("stopped", step)
    assert finished.status == "succeeded", finished.reason
    assert before.terms() + after.terms() == said.terms()
    assert student_bytes(tmp_path / "b") == student_bytes(whole)
    assert (tmp_path / "b/tables/state.json").read_text() == (whole / "tables/state.json").read_text()


@pytest.mark.parametrize("step", [1, 5, 8, 11, 14, 17])
def test_a_run_killed_between_checkpoints_goes_on_from_the_newest_one(
    step: int, undisturbed_run: tuple[Path, Watcher], tmp_path: Path
) -> None:
    whole, said = undisturbed_run
    spec = everything(cadence=Cadence(checkpoint=2))
    after = Watcher()

    with pytest.raises(Killed):
        run_tiny(tmp_path, Everything, watcher=Watcher({step: kill}), spec=spec)
    resume = checkpoint.newest(tmp_path)
    outcome = run_tiny(tmp_path, Everything, watcher=after, spec=spec, resume=resume)

    assert outcome.status == "succeeded", outcome.reason
    assert after.terms() == said.terms()[-len(after.terms()) :]
    assert student_bytes(tmp_path) == student_bytes(whole)


def test_a_run_interrupted_at_every_step_equals_the_uninterrupted_one(undisturbed_run: tuple[Path, Watcher], tmp_path: Path) -> None:
    whole, _ = undisturbed_run

    outcome = run_tiny(tmp_path, Everything, spec=everything(), stop=lambda: True)
    while outcome.status == "stopped":
        watcher = Watcher()
        outcome = run_tiny(
            tmp_path, Everything, watcher=watcher, spec=everything(), resume=checkpoint.newest(tmp_path), stop=watcher.stop_after(1)
        )

    assert outcome.status == "succeeded", outcome.reason
    assert student_bytes(tmp_path) == student_bytes(whole)


def test_what_an_earlier_phase_left_is_also_where_the_run_was_resumed(tmp_path: Path) -> None:
    before, after = Watcher(), Watcher()
    run_tiny(tmp_path / "a", Everything, watcher=before, spec=everything(), stop=before.stop_after(12))

    run_tiny(tmp_path / "b", Everything, watcher=after, spec=everything(), resume=checkpoint.newest(tmp_path / "a"))

    assert json.loads((tmp_path / "b/tables/first.json").read_text()) == [1, 2]
    assert [artifact.name for artifact in after.of(Artifact)] == ["first", "state", "student"]


def test_a_resumed_run_says_which_phase_it_came_back_to(tmp_path: Path) -> None:
    before, after = Watcher(), Watcher()
    run_tiny(tmp_path, Everything, watcher=before, spec=everything(), stop=before.stop_after(7))

    run_tiny(tmp_path, Everything, watcher=after, spec=everything(), resume=checkpoint.newest(tmp_path))

    assert after.of(PhaseStarted) == [PhaseStarted("dream", 2, 4, 7, 3), PhaseStarted("train", 3, 4, 9, 9)]


def test_the_teacher_is_judged_once_though_the_run_was_interrupted(tmp_path: Path) -> None:
    spec = tiny_spec(Taught, teachers=[ModelRef(name="net")], cadence=Cadence(evaluate=4))
    before, after = Watcher(), Watcher()

    run_tiny(tmp_path, Taught, watcher=before, spec=spec, stop=before.stop_after(6))
    run_tiny(tmp_path, Taught, watcher=after, spec=spec, resume=checkpoint.newest(tmp_path))

    judged = [
        (event.subject, event.split, event.step)
        for watcher in (before, after)
        for event in watcher.of(Evaluation)
        if event.subject == "teacher"
    ]
    assert judged == [("teacher", "validation", 4), ("teacher", "test", 12)]


def test_the_clock_of_a_time_budget_goes_on_after_a_resume(tmp_path: Path) -> None:
    before, after = Watcher(), Watcher()
    spec = tiny_spec(budget=Budget(steps=10_000_000, seconds=0.4))
    run_tiny(tmp_path, watcher=before, spec=spec, stop=lambda: any(event.seconds > 0.25 for event in before.of(Progress)))

    outcome = run_tiny(tmp_path, watcher=after, spec=spec, resume=checkpoint.newest(tmp_path))

    first_seconds, last_seconds = before.of(Progress)[-1].seconds, after.of(Progress)[-1].seconds
    assert outcome.status == "succeeded"
    assert first_seconds > 0.25
    assert 0.4 <= last_seconds < 0.4 + first_seconds


def test_a_run_that_is_restarted_deletes_the_checkpoints_of_the_steps_it_will_make_again(tmp_path: Path) -> None:
    watcher = Watcher()
    spec = tiny_spec(cadence=Cadence(checkpoint=2))
    run_tiny(tmp_path, watcher=watcher, spec=spec, stop=watcher.stop_after(7))

    run_tiny(tmp_path, spec=spec, resume=tmp_path / "checkpoints/step-000000006", stop=lambda: True)

    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == ["step-000000006"]


def test_a_checkpoint_is_announced_with_its_place_in_the_runs_folder(tmp_path: Path) -> None:
    watcher = Watcher()

    run_tiny(tmp_path, watcher=watcher, spec=tiny_spec(cadence=Cadence(checkpoint=5)))

    assert watcher.of(Checkpoint) == [Checkpoint(step, f"checkpoints/step-{step:09d}") for step in (5, 10, 12)]
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == ["step-000000010", "step-000000012"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": 4}, "its seed is 0, this run's is 4."),
        ({"settings": {"learning_rate": 0.5}}, "its settings.learning_rate is 0.01, this run's is 0.5."),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_with_the_field_that_differs(
    change: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    run_tiny(tmp_path / "a", spec=tiny_spec())
    folder = tmp_path / "a/checkpoints/step-000000012"

    outcome = run_tiny(tmp_path / "b", spec=tiny_spec(**change), resume=folder)

    assert outcome.status == "failed"
    assert outcome.reason == f"The checkpoint at {folder} is of another run: {sentence}"


def test_a_checkpoint_that_names_a_setting_as_earlier_versions_did_is_of_the_same_run(tmp_path: Path) -> None:
    today, watcher = tiny_spec(settings={"gradient_accumulation_steps": 2}), Watcher()
    run_tiny(tmp_path / "whole", spec=today)
    run_tiny(tmp_path / "a", watcher=watcher, spec=tiny_spec(settings={"micro_batches": 2}), stop=watcher.stop_after(5))
    written = checkpoint.newest(tmp_path / "a")

    same = run_tiny(tmp_path / "b", spec=today, resume=written)
    another = run_tiny(tmp_path / "c", spec=tiny_spec(settings={"gradient_accumulation_steps": 3}), resume=written)

    assert same.status == "succeeded", same.reason
    assert student_bytes(tmp_path / "b") == student_bytes(tmp_path / "whole")
    assert another.reason.endswith("is of another run: its settings.gradient_accumulation_steps is 2, this run's is 3.")


def test_cadence_and_threads_may_change_between_a_checkpoint_and_its_resumption(tmp_path: Path) -> None:
    run_tiny(tmp_path / "whole")
    watcher = Watcher()
    run_tiny(tmp_path / "a", watcher=watcher, stop=watcher.stop_after(5))

    spec = tiny_spec(cadence=Cadence(evaluate=1, checkpoint=3, log=5), threads=None)
    outcome = run_tiny(tmp_path / "b", Plain, spec=spec, resume=checkpoint.newest(tmp_path / "a"))

    assert outcome.status == "succeeded"
    assert student_bytes(tmp_path / "b") == student_bytes(tmp_path / "whole")
