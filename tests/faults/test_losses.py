"""A Redis that forgets, and a worker that sleeps through its lease."""

import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models.functions import Now

from tests.faults.conftest import Start
from tests.faults.undisturbed import Undisturbed
from tests.processes import Program
from tests.runs import queued_run, running_claim
from tests.waiting import wait_for
from webapp.runs import lifecycle
from webapp.runs.models import Attempt, Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

SPEC = {"budget": {"steps": 2000}, "cadence": {"checkpoint": 100, "evaluate": 500}, "threads": 1}


def test_five_queued_runs_survive_a_redis_that_forgets_everything(
    start_worker: Callable[..., Program], start_beat: Callable[[], Program], flush_redis: Callable[[], None]
) -> None:
    runs = [queued_run(name=f"run {number}", budget={"steps": 600}, threads=1) for number in range(5)]
    flush_redis()
    start_worker(1)
    start_beat()
    wait_for(lambda: Run.objects.filter(state=State.RUNNING).exists(), what="the first run to start")

    flush_redis()

    wait_for(lambda: Run.objects.filter(state=State.SUCCEEDED).count() == len(runs), seconds=60, what="all five to finish")
    assert Attempt.objects.count() == len(runs)


def test_a_worker_that_slept_through_its_lease_writes_nothing_and_the_run_finishes_elsewhere(
    start_worker: Callable[..., Program], start_beat: Callable[[], Program], tmp_path: Path
) -> None:
    undisturbed = Undisturbed({"method": "supervised", "task": "digits", "device": "cpu"} | SPEC, tmp_path / "undisturbed")
    sleeper = start_worker(1)
    run = queued_run(**SPEC)
    wait_for(lambda: (Run.objects.get(pk=run.pk).checkpoint_step or 0) > 0, what="a checkpoint")

    sleeper.send(signal.SIGSTOP)
    start_worker(1)
    start_beat()
    wait_for(lambda: Attempt.objects.filter(run=run, number=2, pid__isnull=False).exists(), seconds=60, what="the second attempt to run")
    sleeper.send(signal.SIGCONT)

    wait_for(lambda: "no longer holds run" in sleeper.output, what="the sleeper to notice")
    wait_for(lambda: Run.objects.get(pk=run.pk).state in (State.SUCCEEDED, State.FAILED), seconds=60, what="the run to finish")
    run.refresh_from_db()
    undisturbed.check(run)
    assert [(each.number, each.exit) for each in run.attempts.all()] == [(1, "lost"), (2, "succeeded")]
    assert Attempt.objects.get(run=run, number=1).last_lines == ""


FALLS_ASLEEP_WHILE_IT_WRITES = """
import os, signal, sys, uuid
import workers.app
from webapp.runs import lifecycle
from webapp.runs.lifecycle import Token
with lifecycle.fenced(Token(uuid.UUID(sys.argv[1]), 1)):
    print("writing", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_worker_that_falls_asleep_in_the_middle_of_a_write_loses_its_run_too(environment: dict[str, str], start: Start) -> None:
    """It holds the run's row, which whoever takes the run needs: the database ends its session."""
    held = running_claim()
    sleeper = start(Program(["-c", FALLS_ASLEEP_WHILE_IT_WRITES, str(held.run_id)], environment))
    wait_for(lambda: "writing" in sleeper.output, what="the write to begin")
    Attempt.objects.update(heartbeat_at=Now() - timedelta(hours=1))

    taken = wait_for(lifecycle.requeue_expired, what="the run to be taken away")

    assert taken == [held.run_id]
    assert Run.objects.get().state == State.QUEUED


def test_a_lost_run_is_noticed_though_no_worker_is_left_to_notice_it(start_beat: Callable[[], Program]) -> None:
    """Beat looks by itself: else the only worker's death would be known when another has started."""
    held = running_claim()
    Attempt.objects.update(heartbeat_at=Now() - timedelta(hours=1))

    start_beat()

    wait_for(lambda: Run.objects.get(pk=held.run_id).state == State.QUEUED, seconds=60, what="the run to be taken back")
    assert Attempt.objects.get().exit == "lost"
