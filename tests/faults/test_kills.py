"""kill -9 of whatever there is, at random steps: runs come to the same end, and their histories show nothing of it."""

import os
import random
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from tests import processes
from tests.faults.conftest import Start
from tests.faults.undisturbed import Undisturbed
from tests.processes import Program
from tests.runs import queued_run
from tests.waiting import wait_for
from webapp.runs.models import Attempt, Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

STEPS, CHECKPOINT = 3000, 50
SPEC = {"budget": {"steps": STEPS}, "cadence": {"checkpoint": CHECKPOINT, "evaluate": 500}, "threads": 1}
ENDED = (State.SUCCEEDED, State.FAILED, State.STOPPED)


def answers(port: int) -> bool:
    """Whether a web server speaks HTTP there, whatever it says."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def moment_to_strike(generator: random.Random) -> Attempt | None:
    """Waits until some running attempt is a random number of steps past a checkpoint of its own; None when all runs have ended."""
    margin = generator.randint(CHECKPOINT, 8 * CHECKPOINT)

    def look() -> list[Attempt | None]:
        if not Run.objects.exclude(state__in=ENDED).exists():
            return [None]
        running = Attempt.objects.filter(ended_at=None, run__state=State.RUNNING, pid__isnull=False).select_related("run")
        ripe = [each for each in running if each.run.step >= each.from_step + margin and (each.run.checkpoint_step or 0) > each.from_step]
        return [generator.choice(ripe)] if ripe else []

    return wait_for(look, seconds=60, what="a run to strike")[0]


def kill_child(next_attempt: Callable[[], Attempt]) -> Attempt:
    """Kills the child of an attempt. One that has come to its own end since it was looked at is let go, and another found."""
    while True:
        attempt = next_attempt()
        try:
            os.kill(attempt.pid or 0, signal.SIGKILL)
        except ProcessLookupError:
            wait_for(
                lambda attempt=attempt: Attempt.objects.get(pk=attempt.pk).ended_at, seconds=30, what="an end of its own to be recorded"
            )
        else:
            return attempt


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed({"method": "supervised", "task": "digits", "device": "cpu"} | SPEC, tmp_path_factory.mktemp("undisturbed") / "run")


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_steps_each_run_ends_as_if_nothing_had_happened(
    seed: int,
    environment: dict[str, str],
    start: Start,
    start_worker: Callable[..., Program],
    start_beat: Callable[[], Program],
    undisturbed: Undisturbed,
) -> None:
    generator = random.Random(seed)
    port = processes.free_port()
    web = start(processes.web(environment, port))
    start_beat()
    workers = [start_worker(1), start_worker(1)]
    runs = [queued_run(name=f"run {number}", **SPEC) for number in range(3)]

    # Two workers, two web servers and six children: ten kills.
    victims = ["worker"] * 2 + ["web"] * 2 + ["child"] * 6
    generator.shuffle(victims)

    def next_attempt() -> Attempt:
        attempt = moment_to_strike(generator)
        if attempt is None:
            runs.append(queued_run(name=f"run {len(runs)}", **SPEC))
            attempt = moment_to_strike(generator)
        assert attempt is not None
        return attempt

    struck = []
    for victim in victims:
        struck.append(victim)
        if victim == "child":
            attempt = kill_child(next_attempt)
        elif victim == "web":
            attempt = next_attempt()
            wait_for(lambda: answers(port), seconds=60, what=web.output)
            web.kill()
            web = start(processes.web(environment, port))
        else:
            attempt = next_attempt()
            index = next(index for index, worker in enumerate(workers) if attempt.worker.endswith(f":{worker.pid}"))
            family = workers[index].descendants()
            workers[index].kill()
            wait_for(
                lambda family=family: not any(process.is_running() for process in family),
                seconds=10,
                what="the children of a dead worker to die",
            )
            workers[index] = start_worker(1, wait=False)
        wait_for(
            lambda attempt=attempt, victim=victim: victim == "web" or Attempt.objects.get(pk=attempt.pk).ended_at,
            seconds=30,
            what="the loss to be noticed",
        )

    deadline = time.monotonic() + 90
    for run in runs:
        wait_for(lambda run=run: Run.objects.get(pk=run.pk).state in ENDED, seconds=deadline - time.monotonic(), what=f"{run.name} to end")
    wait_for(lambda: answers(port), seconds=60, what=web.output)
    assert struck.count("child") == 6
    for run in runs:
        run.refresh_from_db()
        undisturbed.check(run)
