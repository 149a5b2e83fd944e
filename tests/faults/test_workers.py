"""Workers and children that are there and no good: without the store, with a disk that fails, asleep, or standing still."""

import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.faults.conftest import StartWith
from tests.processes import Program
from tests.runs import history_of, queued_run
from tests.waiting import wait_for
from webapp.fleet.models import Worker
from webapp.fleet.store import MARKER
from webapp.runs import doorbell, lifecycle
from webapp.runs.models import ENDED, Attempt, LogLine, Run, State
from webapp.runs.progress import Status, newest_attempt, status_of, supply_for
from webapp.runs.table.rows import runs_page
from workers.supervisor import NO_CHECKPOINT

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

LONG: dict[str, Any] = {"budget": {"steps": 2_000_000}, "cadence": {"checkpoint": 200, "log": 50, "evaluate": 1_000_000}, "threads": 1}
SHORT: dict[str, Any] = {"budget": {"steps": 40}, "threads": 1}
STANDS_STILL = r"(Made no step|Stood still in a checkpoint) for \d"
"""What is said of a process that was stopped at any moment."""


def row_of(worker: Program) -> Worker:
    return wait_for(lambda: Worker.objects.filter(name__endswith=f":{worker.pid}").first(), what="the worker's row")


def status(run: Run) -> Status:
    run.refresh_from_db()
    return status_of(run, newest_attempt(run), supply_for([run]))


def ended(run: Run) -> Run:
    wait_for(lambda: Run.objects.get(pk=run.pk).state in ENDED, seconds=60, what="the run to end")
    return Run.objects.get(pk=run.pk)


def training(run: Run) -> Attempt:
    """The run's attempt, once it has a checkpoint."""
    wait_for(lambda: (Run.objects.get(pk=run.pk).checkpoint_step or 0) > 0, seconds=60, what="a checkpoint")
    return Attempt.objects.get(run=run, ended_at=None)


def test_a_worker_without_the_store_takes_no_runs_until_it_is_mounted(start_with: StartWith, tmp_path: Path) -> None:
    place = tmp_path / "store"
    place.mkdir()
    good = start_with()
    bad = start_with(STILLHOUSE_STORE=str(place))
    runs = [queued_run(name=f"run {number}", **SHORT) for number in range(4)]
    ends = [ended(run).state for run in runs]
    workers_that_tried = set(Attempt.objects.values_list("by", flat=True))
    good_id = row_of(good).pk
    good.stop()

    waiting = queued_run(name="waiting", **SHORT)
    said = status(waiting)
    place.rmdir()
    place.symlink_to(settings.STORE)
    last = ended(waiting)

    assert (ends, workers_that_tried) == ([State.SUCCEEDED] * 4, {good_id})
    assert said.unserved == f"{row_of(bad).name} would fit, but its store lacks the file {MARKER}, so it may not be mounted."
    assert bad.output.count("This worker takes no runs: its store lacks the file") == 1
    assert (last.state, last.attempts.get().by) == (State.SUCCEEDED, row_of(bad))


def test_a_worker_whose_disk_fails_is_set_aside_and_fails_no_run(start_with: StartWith, tmp_path: Path) -> None:
    good = start_with()
    broken = tmp_path / "store"
    broken.mkdir()
    shutil.copy(Path(settings.STORE) / MARKER, broken)
    (broken / "runs").write_text("a file where a folder should be")
    bad = start_with(STILLHOUSE_STORE=str(broken), STILLHOUSE_ASIDE_SECONDS="600")

    runs = [queued_run(name=f"run {number}", **SHORT) for number in range(8)]
    ends = [ended(run).state for run in runs]

    assert ends == [State.SUCCEEDED] * 8
    crashed = Attempt.objects.filter(exit="crashed")
    assert [attempt.by for attempt in crashed] == [row_of(bad)] * 3
    assert len({attempt.run_id for attempt in crashed}) == 3
    assert row_of(bad).set_aside_reason.startswith("Its worker could not carry it on: ")
    assert (row_of(bad).times_set_aside, row_of(good).failed_runs) == (1, [])


def test_a_resume_waits_for_a_worker_that_has_its_checkpoint(start_with: StartWith, tmp_path: Path) -> None:
    first = start_with()
    run = queued_run(**LONG)
    training(run)
    lifecycle.request_stop(run, "ann")
    stopped = ended(run)
    there = Path(settings.STORE) / stopped.checkpoint_path
    there.rename(tmp_path / "elsewhere")

    lifecycle.requeue(stopped, "ann")
    wait_for(lambda: Attempt.objects.filter(run=run, exit="returned").exists(), what="the run to be given back")
    said = status(run)
    doorbell.ring("cpu")
    shutil.copytree(tmp_path / "elsewhere", there)
    second = start_with()
    wait_for(lambda: Attempt.objects.filter(run=run, number=3, pid__isnull=False).exists(), what="the other worker to take it")
    again = Attempt.objects.get(run=run, number=3)
    lifecycle.request_stop(run, "ann")
    ended(run)

    step = stopped.checkpoint_step
    assert said.word == "queued"
    assert said.reason == f"No other running worker fits. {row_of(first).name} {NO_CHECKPOINT.format(step=step)}"
    assert [(each.number, each.by) for each in run.attempts.exclude(number=1)] == [(2, row_of(first)), (3, row_of(second))]
    assert again.from_step == step


def test_a_child_that_stands_still_is_shown_until_it_moves_and_ends_at_once_when_it_is_to_stop(start_with: StartWith) -> None:
    start_with(STILLHOUSE_STALL_SECONDS="1.5", STILLHOUSE_STALL_STEPS="0.1", STILLHOUSE_STALL_PATIENCE="1000")
    run = queued_run(**LONG)
    child = training(run).pid or 0

    os.kill(child, signal.SIGSTOP)
    wait_for(lambda: status(run).word == "stalled", what="the run to be shown as stalled")
    still = status(run)
    os.kill(child, signal.SIGCONT)
    wait_for(lambda: status(run).word == "running", what="the run to go on")
    moving = wait_for(lambda: LogLine.objects.filter(run=run, level="info", text__startswith="Moves again after ").exists())
    os.kill(child, signal.SIGSTOP)
    lifecycle.request_stop(run, "ann")
    stopped = ended(run)

    assert re.match(STANDS_STILL, still.reason) and still.reason.endswith(" Its process is ended after 25 min.")
    assert (still.rate, still.left, still.state) == (None, None, State.RUNNING)
    assert moving and LogLine.objects.filter(run=run, level="warning", text__regex=f"^{STANDS_STILL}").exists()
    assert stopped.state == State.STOPPED
    assert re.match(f"A stop had been asked for. {STANDS_STILL}", stopped.reason)


def test_a_child_that_stands_still_for_too_long_is_ended_and_its_run_goes_on(start_with: StartWith) -> None:
    start_with(STILLHOUSE_STALL_SECONDS="4", STILLHOUSE_STALL_STEPS="0.1", STILLHOUSE_STALL_PATIENCE="2")
    run = queued_run(**LONG)
    attempt = training(run)

    os.kill(attempt.pid or 0, signal.SIGSTOP)
    wait_for(lambda: Attempt.objects.filter(run=run, number=2, pid__isnull=False).exists(), what="a second attempt")
    lifecycle.request_stop(run, "ann")
    stopped = ended(run)

    attempt.refresh_from_db()
    assert attempt.exit == "crashed"
    assert re.match(STANDS_STILL, attempt.reason) and attempt.reason.endswith(" Its process was ended.")
    assert Attempt.objects.get(run=run, number=2).from_step > 0
    assert history_of(run.pk)["loss"][0] == sorted({1, *range(50, stopped.step + 1, 50)})


def test_the_only_worker_is_shown_as_silent_though_no_watchdog_looks(
    start_with: StartWith, start_beat: Callable[[], Program], settings: Any
) -> None:
    settings.SILENT_SECONDS = 2.0
    worker = start_with()
    run, waiting = queued_run(**LONG), queued_run(name="waiting", **LONG)
    training(run)
    wait_for(lambda: status(run).rate, what="a pace")
    served = status(waiting).unserved

    worker.send(signal.SIGSTOP)
    wait_for(lambda: status(run).word == "silent", seconds=15, what="the run to be shown as silent")
    wait_for(lambda: status(waiting).unserved, what="the worker to be forgotten")
    shown, rows = status(run), {row.name: row.status for row in runs_page(run.project).rows}
    unmarked = Attempt.objects.get(run=run).silent_since
    worker.send(signal.SIGCONT)
    wait_for(lambda: status(run).word == "running", what="the worker to be heard again")

    start_beat()
    worker.send(signal.SIGSTOP)
    wait_for(lambda: Attempt.objects.get(run=run).silent_since, seconds=15, what="beat to tell the pages, though no worker hears it")
    worker.send(signal.SIGCONT)

    assert (shown.rate, shown.left, rows["run"].word, rows["run"].left, unmarked) == (None, None, "silent", None, None)
    assert (served, rows["waiting"].unserved) == ("", "No worker is running.")
