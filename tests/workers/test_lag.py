"""From emit to commit: what a child says carries its time, the sink measures when it has committed, and the heartbeat tells."""

import time
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from engine.events import Log, Metrics
from tests.runs import running_claim
from tests.waiting import wait_for
from webapp.fleet import tally
from webapp.fleet.lag import Lags
from webapp.fleet.models import Worker
from webapp.runs import lifecycle
from webapp.runs.lifecycle import LeaseLost
from workers import wire
from workers.child import EventSender
from workers.devices import Pool
from workers.presence import Presence
from workers.sink import LAGS, Sink


@pytest.fixture(autouse=True)
def _nothing_measured() -> None:
    LAGS.take()


def said(seconds_ago: float) -> wire.Message:
    return wire.decode(wire.encode([Metrics(1, {"loss": 1.0})], since=time.monotonic() - seconds_ago))


def test_a_child_says_since_when_the_oldest_event_of_a_message_has_waited() -> None:
    ours, its = Pipe()
    sender = EventSender(its)

    before = time.monotonic()
    sender.emit(Log("info", "first"))
    between = time.monotonic()
    sender.emit(Log("info", "second"))
    sender.start()
    message = wire.decode(ours.recv_bytes())
    sender.close()
    ours.close()

    assert [event.text for event in message.events] == ["first", "second"]  # type: ignore[union-attr]
    assert message.since is not None and before <= message.since <= between


@pytest.mark.parametrize("moment", [float("nan"), float("inf"), "yesterday", [1]])
def test_a_time_that_is_none_is_no_message(moment: Any) -> None:
    with pytest.raises(ValueError, match="not a message"):
        wire.decode(wire.encode([], since=moment))


def test_a_message_of_an_older_child_has_no_time() -> None:
    assert wire.decode(wire.encode([Log("info", "x")])).since is None


@pytest.mark.servers
@pytest.mark.django_db
def test_the_lag_is_measured_when_a_batch_is_committed_and_once_a_message() -> None:
    sink = Sink(running_claim())
    sink.add(said(seconds_ago=0.0))
    sink.add(said(seconds_ago=7.0))
    gathered = LAGS.take()

    sink.flush()
    measured = LAGS.take()
    sink.flush(last=True)

    assert (gathered, LAGS.take()) == ({}, {})
    assert 7.0 <= measured.pop("lag/seconds") < 10.0
    assert measured.pop("lag/le/10") == 1
    assert sum(measured.values()) == 1


@pytest.mark.servers
@pytest.mark.django_db
def test_what_is_never_committed_is_not_measured() -> None:
    held = running_claim()
    sink = Sink(held)
    sink.add(said(seconds_ago=1.0))
    lifecycle.crashed(held.token, "It died.")

    with pytest.raises(LeaseLost):
        sink.flush()

    assert LAGS.take() == {}


def test_each_lag_is_in_the_smallest_bucket_that_holds_it() -> None:
    lags = Lags()

    for seconds in (0.0, 0.1, 0.11, 300.0, 301.0):
        lags.measured(seconds)

    assert lags.take() == {"lag/le/0.1": 2, "lag/le/0.25": 1, "lag/le/300": 1, "lag/le/inf": 1, "lag/seconds": pytest.approx(601.21)}


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_the_heartbeat_tells_what_was_measured_and_the_room_of_the_store(tmp_path: Path, settings: Any) -> None:
    settings.STORE, settings.HEARTBEAT_SECONDS = tmp_path, 0.05
    one = Presence("box:1", Pool(cpu_slots=1, gpus=(), cores=1))
    one.start()

    LAGS.measured(0.2)
    LAGS.measured(0.2)
    told = wait_for(lambda: tally.newest().get("lag/le/0.25"), what="the lag")
    row = wait_for(lambda: Worker.objects.filter(pk=one.id, store_bytes__gt=0).first(), what="the store's room")
    one.leave()

    assert told == 2
    assert 0 < row.store_free_bytes <= row.store_bytes
