"""A worker that is to end while the database is away."""

import threading
import time
import uuid

import psycopg
import pytest
from django.db import OperationalError

from webapp.runs.lifecycle import ClaimedRun
from workers.bounds import Bounds
from workers.supervisor import LEAVING_SECONDS, Heartbeat, _persist

CLAIM = ClaimedRun(uuid.uuid4(), 1, {}, "cpu", 1, None, 0, {})


class Database:
    """One that does not answer until it has been asked so many times."""

    def __init__(self, *, answers_after: float) -> None:
        self.asked, self._answers_after = 0, answers_after

    def write(self) -> str:
        self.asked += 1
        if self.asked <= self._answers_after:
            try:
                psycopg.connect("host=/nowhere connect_timeout=1")
            except psycopg.OperationalError as error:
                raise OperationalError(str(error)) from None
        return "written"


def heartbeat(*, leaving: bool) -> Heartbeat:
    event = threading.Event()
    if leaving:
        event.set()
    return Heartbeat(CLAIM, event, Bounds(seconds=None, memory=10**9))


def test_it_does_not_wait_for_the_database_for_ever() -> None:
    away, began = Database(answers_after=float("inf")), time.monotonic()

    with pytest.raises(OperationalError, match="/nowhere"):
        _persist(away.write, heartbeat(leaving=True))

    assert time.monotonic() - began >= LEAVING_SECONDS
    assert away.asked > 3


@pytest.mark.parametrize("leaving", [True, False])
def test_a_database_that_comes_back_in_time_hears_what_there_is_to_write(leaving: bool) -> None:
    away = Database(answers_after=3)

    assert _persist(away.write, heartbeat(leaving=leaving)) == "written"
