"""What is rung and announced: to whom, with which words, and only once it is true."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
import redis
from django.conf import settings
from django.db import transaction
from kombu import Connection

from tests.runs import claim, queued_run
from tests.webapp.fleet.workers import gpus, worker
from webapp.runs import doorbell, lifecycle

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

RUN = UUID(int=7)
Committed = Callable[..., Any]


@pytest.fixture(autouse=True)
def _silence(flush_redis: Callable[[], None]) -> Iterator[None]:
    doorbell.reset()
    flush_redis()
    yield
    flush_redis()
    doorbell.reset()


@pytest.fixture
def committed(django_capture_on_commit_callbacks: Committed) -> Committed:
    """A transaction that commits, as far as the doorbell knows."""
    return lambda: django_capture_on_commit_callbacks(execute=True)


def rung(kind: str) -> list[tuple[str, list[Any]]]:
    """The messages at a door, taken away: (job, arguments)."""
    with Connection(settings.CELERY_BROKER_URL) as broker, broker.SimpleQueue(kind) as door:
        heard = []
        with suppress(door.Empty):
            while True:
                message = door.get(block=False)
                message.ack()
                heard.append((message.headers["task"], message.payload[0]))
        return heard


class Listener:
    """Hears the news of one run."""

    def __init__(self, run_id: UUID) -> None:
        self._client = redis.Redis.from_url(settings.REDIS_URL)
        self._pubsub = self._client.pubsub()
        self._pubsub.subscribe(doorbell.channel(run_id))
        assert self._pubsub.get_message(timeout=5)["type"] == "subscribe"  # type: ignore[index]

    def heard(self) -> list[Any]:
        found = []
        # The last word is our own: what was published before it has arrived by then.
        self._client.publish(next(iter(self._pubsub.channels)).decode(), '"end"')
        while (message := json.loads(self._pubsub.get_message(timeout=5)["data"])) != "end":  # type: ignore[index]
            found.append(message)
        return found

    def close(self) -> None:
        self._pubsub.close()
        self._client.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener(RUN)
    yield listening
    listening.close()


@pytest.mark.parametrize(("kind", "cpu", "cuda"), [("cpu", 1, 0), ("cuda", 0, 1), ("any", 1, 1)])
def test_a_ring_is_heard_at_the_doors_of_its_kind(committed: Committed, kind: str, cpu: int, cuda: int) -> None:
    with committed():
        doorbell.ring(kind, passed_on=3)

    assert rung("cpu") == [(doorbell.DOORBELL, ["cpu", 3])] * cpu
    assert rung("cuda") == [(doorbell.DOORBELL, ["cuda", 3])] * cuda


def test_news_name_their_kinds_once_and_in_order_with_the_number_of_their_batch(committed: Committed, listener: Listener) -> None:
    with committed():
        doorbell.announce(RUN, ["points", "log", "points"], batch=12)
        doorbell.announce(RUN, {"state"})
        doorbell.announce(UUID(int=8), ["state"])

    assert listener.heard() == [
        {"batch": 12, "kinds": ["log", "points"], "project": None},
        {"batch": None, "kinds": ["state"], "project": None},
    ]


def test_nothing_is_rung_or_told_of_a_transaction_that_was_taken_back(committed: Committed, listener: Listener) -> None:
    def undone() -> None:
        with transaction.atomic():
            doorbell.ring("cpu")
            doorbell.announce(RUN, ["points"])
            raise ZeroDivisionError

    with committed(), pytest.raises(ZeroDivisionError):
        undone()

    assert (rung("cpu"), listener.heard()) == ([], [])


def test_a_submission_rings_for_its_kind_of_device_and_a_stop_does_not_ring(committed: Committed) -> None:
    with committed():
        run = queued_run(device_kind="any", device="auto")
    submitted = rung("cpu"), rung("cuda")
    with committed():
        lifecycle.request_stop(run, "ann")

    assert [len(door) for door in submitted] == [1, 1]
    assert (rung("cpu"), rung("cuda")) == ([], [])


def test_the_watchdog_rings_once_at_each_door_behind_which_there_is_room(committed: Committed) -> None:
    worker(**gpus(1))
    for _ in range(3):
        queued_run(device_kind="cuda", device="auto")
    queued_run(device_kind="cpu")

    with committed():
        lifecycle.ring_for_waiting()

    assert (rung("cpu"), rung("cuda")) == ([], [(doorbell.DOORBELL, ["cuda", 0])])


def test_a_run_that_goes_back_into_the_queue_rings_again(committed: Committed) -> None:
    queued_run()
    held = claim()
    assert held is not None

    with committed():
        lifecycle.crashed(held.token, "It died.")

    assert rung("cpu") == [(doorbell.DOORBELL, ["cpu", 0])]


def test_every_change_of_a_run_is_told_to_those_who_look_at_it(committed: Committed) -> None:
    run = queued_run()
    listening = Listener(run.pk)
    deeds: list[Callable[[], Any]] = [
        lambda: lifecycle.set_priority(run, "ann", 5),
        claim,
        lambda: lifecycle.request_stop(run, "ann"),
        lambda: lifecycle.request_stop(run, "ann"),
    ]
    try:
        told = []
        for deed in deeds:
            with committed():
                deed()
            told.append(listening.heard())
    finally:
        listening.close()

    assert [[each["kinds"] for each in news] for news in told] == [[["state"]], [["state"]], [["state"]], []]


def test_a_ring_that_nobody_answers_is_forgotten_after_a_minute(committed: Committed) -> None:
    with committed():
        doorbell.ring("cpu")

    with Connection(settings.CELERY_BROKER_URL) as broker, broker.SimpleQueue("cpu") as door:
        message = door.get(block=False)
        message.ack()
    assert message.headers["expires"] is not None
    assert message.headers["ignore_result"] is True
