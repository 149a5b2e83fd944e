"""The live page's stream: from where it goes on, what ends it, and what it survives."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections
from django.test import AsyncClient
from django.urls import reverse

from tests.webapp.batches import write_points
from tests.webapp.conftest import RunMaker
from webapp.accounts.models import Membership, User
from webapp.runs import lifecycle
from webapp.runs.live.news import Mark
from webapp.runs.live.stream import LOOK_SECONDS, stream

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]


def parsed(text: str | bytes) -> tuple[str, str, Any]:
    """(event, id, data) of one server-sent event."""
    text = text.decode() if isinstance(text, bytes) else text
    lines = dict(line.split(": ", 1) for line in text.strip().split("\n") if ": " in line)
    return lines.get("event", ""), lines.get("id", ""), json.loads(lines.get("data", "null"))


async def events(source: AsyncIterator[str], *, until: str, seconds: float = 10) -> list[tuple[str, str, Any]]:
    """What a stream says, up to the first event of a kind."""
    heard = []
    async with asyncio.timeout(seconds):
        async for text in source:
            heard.append(parsed(text))
            if heard[-1][0] == until:
                break
    return heard


def in_thread(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """A question to the database from a coroutine, without leaving a connection open."""

    def ask(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        finally:
            connection.close()

    return sync_to_async(ask, thread_sensitive=False)


def run_async(coroutine: Awaitable[Any]) -> Any:
    async def whole() -> Any:
        try:
            return await coroutine
        finally:
            # An asynchronous client asks the database in one thread that outlives it. What is left open there is found much later.
            await sync_to_async(connections.close_all)()

    try:
        return asyncio.run(whole())
    finally:
        connections.close_all()


def test_a_stream_ends_with_the_run_after_everything_was_told(finished_run: RunMaker, viewer: User) -> None:
    run = finished_run()
    write_points(run, (1, 3.0))

    heard = run_async(events(stream(viewer, run.pk, Mark()), until="never"))

    assert [event for event, _, _ in heard] == ["", "points", "evaluation", "status", "end"]


def test_a_reader_who_comes_back_hears_only_what_was_missed(finished_run: RunMaker, viewer: User) -> None:
    run = finished_run()
    write_points(run, (1, 3.0))
    mark = Mark.parse(run_async(events(stream(viewer, run.pk, Mark()), until="evaluation"))[-1][1])
    write_points(run, (2, 2.0))

    heard = run_async(events(stream(viewer, run.pk, mark), until="end"))

    assert [event for event, _, _ in heard] == ["", "points", "status", "end"]
    assert heard[1][2]["series"] == {"loss": [[2], [2.0]]}


def test_the_browsers_last_event_id_counts_more_than_the_address(finished_run: RunMaker, viewer: User) -> None:
    run = finished_run()
    write_points(run, (1, 3.0))
    seen = run.evaluations.get().pk

    async def listen() -> list[tuple[str, str, Any]]:
        client = AsyncClient()
        await client.aforce_login(viewer)
        answer = await client.get(reverse("run-events", args=[run.pk]) + "?after=0~0~0", headers={"Last-Event-ID": f"1~0~{seen}"})
        assert answer["Content-Type"] == "text/event-stream" and answer["Cache-Control"] == "no-store"
        return await events(aiter(answer.streaming_content), until="end")

    heard = run_async(listen())

    assert [event for event, _, _ in heard] == ["", "status", "end"]


def test_a_ring_brings_news_before_the_next_look(running_run: RunMaker, viewer: User) -> None:
    run = running_run()

    async def listen() -> list[tuple[str, str, Any]]:
        source = stream(viewer, run.pk, Mark())
        await events(source, until="status")
        await in_thread(write_points)(run, (1, 3.0))
        return await events(source, until="points", seconds=LOOK_SECONDS / 2)

    heard = run_async(listen())

    assert heard[-1][2]["series"] == {"loss": [[1], [3.0]]}


def test_without_redis_the_stream_still_brings_everything(running_run: RunMaker, viewer: User, settings: Any) -> None:
    run = running_run()
    settings.REDIS_URL = "redis://127.0.0.1:1/0"  # nobody listens there

    async def listen() -> list[tuple[str, str, Any]]:
        source = stream(viewer, run.pk, Mark())
        await events(source, until="status")
        await in_thread(write_points)(run, (1, 3.0))
        return await events(source, until="points")

    heard = run_async(listen())

    assert heard[-1][2]["series"] == {"loss": [[1], [3.0]]}


def test_a_removed_member_hears_nothing_more(running_run: RunMaker, viewer: User) -> None:
    run = running_run()

    def remove() -> None:
        Membership.objects.filter(user=viewer).delete()
        write_points(run, (1, 3.0))

    async def listen() -> list[tuple[str, str, Any]]:
        source = stream(viewer, run.pk, Mark())
        await events(source, until="status")
        await in_thread(remove)()
        return await events(source, until="never")

    assert run_async(listen()) == []


def test_a_stop_is_told_at_once(running_run: RunMaker, viewer: User, operator: User) -> None:
    run = running_run()

    async def listen() -> list[tuple[str, str, Any]]:
        source = stream(viewer, run.pk, Mark())
        await events(source, until="status")
        await in_thread(lifecycle.request_stop)(run, operator)
        return await events(source, until="status", seconds=LOOK_SECONDS / 2)

    assert run_async(listen())[-1][2]["word"] == "stopping"


@pytest.mark.parametrize(("who", "status"), [("stranger", 404), ("nobody", 401)])
def test_who_may_not_see_a_run_gets_no_stream(who: str, status: int, running_run: RunMaker, stranger: User) -> None:
    run = running_run()

    async def ask() -> int:
        client = AsyncClient()
        if who == "stranger":
            await client.aforce_login(stranger)
        return (await client.get(reverse("run-events", args=[run.pk]))).status_code

    assert run_async(ask()) == status
