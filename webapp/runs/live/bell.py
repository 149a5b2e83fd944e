"""What Redis rings: one subscription a process, whatever is open. Never raises for Redis: while it is away, nothing rings."""

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from webapp.runs.doorbell import EVERY_RUN, run_of_channel

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class Ring:
    """What was announced: which kinds of things of a run are new, and the project where it was announced with one."""

    run_id: UUID
    kinds: frozenset[str]
    project: int | None


class Bell:
    """`heard` is called for each ring, and `back` when the subscription stands (again): what was rung before it was not heard."""

    def __init__(self, heard: Callable[[Ring], None], back: Callable[[], None]) -> None:
        self.listening = False
        self._heard, self._back = heard, back

    async def keep_listening(self) -> None:
        while True:
            with suppress(RedisError, OSError):
                await self._listen()
            self.listening = False
            await asyncio.sleep(AGAIN_SECONDS)

    async def _listen(self) -> None:
        # No time limit on the socket: the client would send under asyncio.wait_for, which in Python 3.11 can lose a cancellation.
        client = redis.asyncio.from_url(settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=None, retry=Retry(NoBackoff(), 0))
        async with client, client.pubsub() as pubsub:
            await pubsub.psubscribe(EVERY_RUN)
            async for message in pubsub.listen():
                if message["type"] == "psubscribe":
                    self.listening = True
                    self._back()
                elif (ring := _ring(message)) is not None:
                    self._heard(ring)


def _ring(message: "dict[str, bytes]") -> Ring | None:
    """None for what is no announcement of ours: others may use the same Redis."""
    run_id = run_of_channel(message["channel"].decode(errors="replace"))
    try:
        said = json.loads(message["data"])
        return None if run_id is None else Ring(run_id, frozenset(said["kinds"]), said.get("project"))
    except (ValueError, TypeError, KeyError):
        logger.warning("What was published for run %s can't be read.", run_id)
        return None
