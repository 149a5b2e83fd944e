"""A run's news as server-sent events. Redis says when to look, the database says what there is.

One coroutine a client, no thread: a thread is borrowed for each look at the database. Without Redis the database is polled. A page that
was closed, or a web server that was restarted, changes nothing: the browser comes back with `Last-Event-ID` and hears what it missed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import TypeVar
from uuid import UUID

import redis.asyncio
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.http import require_GET
from redis.exceptions import RedisError

from webapp.accounts.models import User
from webapp.runs.access import run_for
from webapp.runs.doorbell import channel
from webapp.runs.live.news import Mark, News, news_since

T = TypeVar("T")

LOOK_SECONDS = 5.0
"""How often to look though nobody rang: what is not announced (a rate, a time left) gets no older than this."""

POLL_SECONDS = 1.0
"""The same, while Redis can't be reached."""

SECONDS_A_MESSAGE = 0.25
"""At most four messages a second and client."""

HEARTBEAT_SECONDS = 15.0
"""A comment is sent after so long a silence, so that proxies keep the connection and a closed one is noticed."""


class Bell:
    """Waits until something was published for a run. Never raises for Redis: while it is away, waiting is sleeping."""

    def __init__(self, run_id: UUID) -> None:
        self.channel = channel(run_id)
        self.client = redis.asyncio.from_url(settings.REDIS_URL, socket_connect_timeout=1)
        self.pubsub = self.client.pubsub(ignore_subscribe_messages=True)
        self.listening = False

    async def listen(self) -> None:
        try:
            await self.pubsub.subscribe(self.channel)
            self.listening = True
        except (RedisError, OSError):
            self.listening = False

    async def wait(self) -> None:
        """Returns when the bell rang, or after LOOK_SECONDS (POLL_SECONDS without Redis)."""
        if not self.listening:
            await asyncio.sleep(POLL_SECONDS)
            return await self.listen()
        try:
            if await self.pubsub.get_message(timeout=LOOK_SECONDS) is None:
                return None
            while await self.pubsub.get_message(timeout=0) is not None:
                pass  # One look serves all that have rung.
        except (RedisError, OSError):
            self.listening = False

    async def close(self) -> None:
        try:
            await self.pubsub.aclose()  # type: ignore[no-untyped-call]
            await self.client.aclose()
        except (RedisError, OSError):
            pass


@require_GET
async def run_events(request: HttpRequest, run_id: UUID) -> HttpResponseBase:
    user = await request.auser()
    if not isinstance(user, User):
        return HttpResponse("Sign in first.", status=401)
    await _in_thread(lambda: run_for(user, run_id))
    mark = Mark.parse(request.headers.get("Last-Event-ID") or request.GET.get("after", ""))
    response = StreamingHttpResponse(stream(user, run_id, mark), content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


async def stream(user: User, run_id: UUID, mark: Mark) -> AsyncIterator[str]:
    """The run's news, until it has ended. Subscribed before the first look, so that nothing falls between the two."""
    bell = Bell(run_id)
    await bell.listen()
    try:
        yield "retry: 1500\n\n"
        spoken = time.monotonic()
        while True:
            news = await _look(user, run_id, mark)
            if news is None:
                return
            for message in news.messages:
                yield message.encode()
            if news.ended:
                yield f"event: end\nid: {news.mark}\ndata: {{}}\n\n"
                return
            if news.messages:
                spoken = time.monotonic()
                await asyncio.sleep(SECONDS_A_MESSAGE * len(news.messages))
            elif time.monotonic() - spoken >= HEARTBEAT_SECONDS:
                spoken = time.monotonic()
                yield ": still here\n\n"
            mark = news.mark
            await bell.wait()
    finally:
        await bell.close()


async def _look(user: User, run_id: UUID, mark: Mark) -> News | None:
    """None when the reader may not see the run any more, or the run has gone."""
    try:
        return await _in_thread(lambda: news_since(user, run_id, mark))
    except (Http404, PermissionDenied):
        return None


async def _in_thread(question: Callable[[], T]) -> T:
    """Asks the database in a thread of the pool, and gives the connection back: pool threads outlive requests."""

    def ask() -> T:
        try:
            return question()
        finally:
            connection.close()

    return await sync_to_async(ask, thread_sensitive=False)()
