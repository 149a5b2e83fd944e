"""Redis, which only rings: the doorbell that wakes workers, and the news that wakes live pages.

PostgreSQL holds the truth. A ring that is lost costs a run a few seconds, until the watchdog rings again, and lost news costs a page
nothing but a moment; so nothing here ever raises because Redis is away, and nobody waits for it long.
"""

import json
import logging
import time
from collections.abc import Iterable, Mapping
from functools import cache, partial
from typing import Any, Literal
from uuid import UUID

import redis
from celery import Celery
from django.conf import settings
from django.db import transaction
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

DeviceKind = Literal["cpu", "cuda"]
KINDS: tuple[DeviceKind, ...] = ("cpu", "cuda")

DOORBELL = "stillhouse.doorbell"
"""Name of the job that claims runs. Its queue is named after the device kind that it may find work for."""

RING_EXPIRES = 60.0
PATIENCE = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}
PAUSE_AFTER_FAILURE = 5.0


class _Pause:
    """While Redis is away it is not asked at all."""

    until = 0.0


EVERY_RUN = "stillhouse:run:*"
"""The pattern of the channels on which news are published, one a run."""


def channel(run_id: UUID) -> str:
    """The Redis channel on which a run's news is published."""
    return EVERY_RUN.replace("*", str(run_id))


def run_of_channel(name: str) -> UUID | None:
    """The other way; None for a channel that is no run's."""
    try:
        return UUID(name.removeprefix(EVERY_RUN[:-1]))
    except ValueError:
        return None


def ring(device_kind: str, *, passed_on: int = 0) -> None:
    """After the transaction at hand commits: something for this kind of device may be ready. "any" rings at every door.

    `passed_on`: by how many workers that had no room for it.
    """
    for kind in KINDS if device_kind == "any" else (device_kind,):
        transaction.on_commit(partial(_send, kind, passed_on), robust=True)


def announce(run_id: UUID, kinds: Iterable[str], *, batch: int | None = None, project: int | None = None) -> None:
    """After the transaction at hand commits: these kinds of things of a run are new (`points`, `evaluation`, `log`, `artifact`, `state`,
    `progress`, `launched`).

    `batch` is the number of the committed batch of metrics, when there is one. A launch tells its `project`: no table shows the run yet.
    """
    message: Mapping[str, Any] = {"batch": batch, "kinds": sorted(set(kinds)), "project": project}
    transaction.on_commit(partial(_publish, run_id, message), robust=True)


def _send(kind: str, passed_on: int) -> None:
    if _is_quiet():
        return
    try:
        _sender().send_task(DOORBELL, args=[kind, passed_on], queue=kind, expires=RING_EXPIRES, ignore_result=True, retry=False)
    except (OperationalError, redis.RedisError, OSError) as error:
        _be_quiet(error)


def _publish(run_id: UUID, message: Mapping[str, Any]) -> None:
    if _is_quiet():
        return
    try:
        _client().publish(channel(run_id), json.dumps(message))
    except (redis.RedisError, OSError) as error:
        _be_quiet(error)


def _is_quiet() -> bool:
    return time.monotonic() < _Pause.until


def _be_quiet(error: Exception) -> None:
    """Redis does not answer: don't ask again for a while, so that a dead Redis slows neither a request nor a run."""
    _Pause.until = time.monotonic() + PAUSE_AFTER_FAILURE
    logger.warning("Redis does not answer (%s); runs go on without it.", error)


@cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, retry=Retry(NoBackoff(), 1), **PATIENCE)


@cache
def _sender() -> Celery:
    """A Celery application that can only send: the web knows the doorbell by name and nothing of workers."""
    sender = Celery("stillhouse-doorbell", broker=settings.CELERY_BROKER_URL, set_as_current=False)
    sender.conf.update(broker_transport_options=PATIENCE, broker_connection_max_retries=0)
    return sender


def reset() -> None:
    """Forgets connections and pauses: for a process whose settings have changed."""
    _client.cache_clear()
    _sender.cache_clear()
    _Pause.until = 0.0
