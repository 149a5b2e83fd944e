"""What a person at a terminal sees of a run: the student's first numbers, what was left, and every line as it was written."""

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from engine.cli.run import _Display, _display
from engine.events import Artifact, Checkpoint, Evaluation, Log, Metrics, PhaseStarted, Progress
from engine.spec.run_spec import RunSpec

Seen = tuple[_Display, io.StringIO]


@pytest.fixture
def display() -> Iterator[Seen]:
    """That of a classifier's run, with what it has written."""
    written = io.StringIO()
    console = Console(file=written, width=400, force_terminal=False)
    with _display(console, RunSpec.parse({"method": "supervised", "task": "digits"})) as found:
        yield found, written


def evaluation(*, final: bool, **metrics: float | None) -> Evaluation:
    return Evaluation(7, "student", "validation", final, metrics)


def test_a_final_evaluation_is_a_line_of_the_headlines_numbers_as_far_as_they_are_defined(display: Seen) -> None:
    found, written = display

    found.show(evaluation(final=True, mce=0.9, nll=0.25, accuracy=0.98765, ece=None))

    assert "student on validation: accuracy 0.9877, nll 0.2500\n" in written.getvalue()
    assert "mce" not in written.getvalue() and "ece" not in written.getvalue()


def test_a_watched_evaluation_stands_beside_the_bar_and_is_no_line(display: Seen) -> None:
    found, written = display

    found.show(evaluation(final=False, accuracy=0.5))

    assert "student on" not in written.getvalue()
    [task] = found._bar.tasks
    assert task.fields["note"] == "accuracy 0.5000"


def test_the_bar_has_the_phase_and_the_steps_of_the_whole_run(display: Seen) -> None:
    found, _ = display

    found.show(PhaseStarted("warm", 0, 2, 0, 5))
    names = [found._bar.tasks[0].description]
    found.show(Progress(3, 40, "distill", 1.5, 2.0))

    [task] = found._bar.tasks
    assert [*names, task.description] == ["warm", "distill"]
    assert (task.completed, task.total) == (3, 40)


@pytest.mark.parametrize("level", ["info", "error", "warning"])
def test_a_line_is_shown_as_it_was_written_whatever_brackets_it_holds(level: str, display: Seen) -> None:
    found, written = display

    found.show(Log(level, "shape [2, 3] [bold]is[/bold] no [/nonsense] :smile: 1234 (batch, …)"))  # type: ignore[arg-type]

    assert "shape [2, 3] [bold]is[/bold] no [/nonsense] :smile: 1234 (batch, …)\n" in written.getvalue()


def test_tables_are_told_and_what_a_run_makes_anyway_is_not(display: Seen) -> None:
    found, written = display

    found.show(Artifact("seen", "table", "tables/seen.json", 10, "0" * 64))
    found.show(Artifact("student", "model", "student", 10, "0" * 64))
    found.show(Checkpoint(5, "checkpoints/step-000000005"))
    found.show(Metrics(1, {"loss": 0.5}))

    assert "wrote tables/seen.json\n" in written.getvalue()
    assert all(word not in written.getvalue() for word in ("wrote student", "checkpoints", "loss"))
