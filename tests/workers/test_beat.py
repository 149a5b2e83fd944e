"""Beat ends when it is told to."""

import signal
from collections.abc import Iterator

import pytest

from tests import processes
from tests.processes import Program
from tests.waiting import wait_for

pytestmark = pytest.mark.servers

SWALLOWS = """
import time
from celery.beat import Scheduler
from workers.app import app

class Deaf(Scheduler):
    def tick(self, *_, **__):
        print("turn", flush=True)
        try:
            time.sleep(60)
        except BaseException as error:
            print("lost", type(error).__name__, flush=True)
        return 0.1

app.Beat(scheduler_cls=Deaf).run()
"""
"""What is raised while a task is sent can come out as another error, as it does where the Redis client closes its connection on the way."""


@pytest.fixture
def deaf(process_environment: dict[str, str]) -> Iterator[Program]:
    with Program(["-c", SWALLOWS], process_environment) as program:
        yield program


def test_beat_ends_though_the_end_was_raised_where_nobody_heard_it(deaf: Program) -> None:
    wait_for(lambda: "turn" in deaf.output or not deaf.is_running(), seconds=60, what="beat's first turn")

    code = deaf.stop(seconds=20)

    wait_for(lambda: "lost SystemExit" in deaf.output, what="its last words")
    assert code == 0, deaf.output
    assert deaf.output.count("turn") == 1


def test_beat_ends_at_once_in_its_sleep(process_environment: dict[str, str]) -> None:
    with processes.beat(process_environment | {"STILLHOUSE_WATCHDOG_SECONDS": "60", "STILLHOUSE_LOG_LEVEL": "DEBUG"}) as beat:
        wait_for(lambda: "Waking up in" in beat.output or not beat.is_running(), seconds=60, what="beat to sleep")

        beat.send(signal.SIGTERM)

        wait_for(lambda: not beat.is_running(), seconds=20, what="beat to end")
