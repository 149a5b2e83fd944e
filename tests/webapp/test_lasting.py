"""Answers that go on: what Django has ended by then, and what happens when the reader goes away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

from django.core.handlers.asgi import ASGIRequest
from django.test import RequestFactory

from tests.webapp.asgi import GONE, Exchange, answer, until
from webapp.lasting import KEY, Lasting, goes_on

Send = Callable[[Any], Awaitable[None]]


class Told:
    """Tells texts, then waits to be ended. Keeps what was done to it."""

    def __init__(self, *texts: str, endless: bool = False) -> None:
        self.texts, self.done = list(texts), []
        self._over = asyncio.Event()
        if not endless:
            self._over.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        if self.texts:
            return self.texts.pop(0)
        await self._over.wait()
        raise StopAsyncIteration

    def end(self) -> None:
        self.done.append("end")
        self._over.set()

    def close(self) -> None:
        self.done.append("close")


def test_the_stream_begins_when_the_request_has_ended() -> None:
    order: list[str] = []

    async def visit() -> Exchange:
        exchange, told = Exchange(), Told("one", "two")

        async def app(scope: dict[str, Any], receive: Any, send: Send) -> None:
            scope[KEY] = told
            await answer(send, b"", Content_Length="0", Content_Type="text/event-stream")
            order.append(f"request over, {len(told.texts)} untold")

        await exchange.go_through(Lasting(app))
        return exchange

    exchange = asyncio.run(visit())

    assert order == ["request over, 2 untold"]
    assert (exchange.status, exchange.body, exchange.is_over) == (200, b"onetwo", True)
    assert exchange.headers == {b"Content-Type": b"text/event-stream"}


def test_any_other_answer_goes_through_as_it_is() -> None:
    async def visit() -> Exchange:
        exchange = Exchange()

        async def app(scope: dict[str, Any], receive: Any, send: Send) -> None:
            await answer(send, Content_Length="6")

        await exchange.go_through(Lasting(app))
        return exchange

    exchange = asyncio.run(visit())

    assert (exchange.headers, exchange.body, exchange.is_over) == ({b"Content-Length": b"6"}, b"answer", True)


def test_who_goes_away_ends_what_is_told() -> None:
    async def visit() -> Told:
        exchange, told = Exchange(), Told("one", endless=True)

        async def app(scope: dict[str, Any], receive: Any, send: Send) -> None:
            await receive()
            scope[KEY] = told
            await answer(send, b"")

        going = asyncio.create_task(exchange.go_through(Lasting(app)))
        await until(lambda: exchange.body == b"one")
        exchange.say(GONE)
        await going
        return told

    assert asyncio.run(visit()).done == ["end", "close"]


def test_what_was_never_told_is_closed_too() -> None:
    async def visit() -> Told:
        told = Told("one", endless=True)

        async def app(scope: dict[str, Any], receive: Any, send: Send) -> None:
            scope[KEY] = told
            raise ConnectionResetError

        try:
            await Exchange().go_through(Lasting(app))
        except ConnectionResetError:
            return told
        raise AssertionError("the application's error was swallowed")

    assert asyncio.run(visit()).done == ["close"]


def test_a_view_says_with_what_its_answer_goes_on(rf: RequestFactory) -> None:
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    request = ASGIRequest(scope, rf.get("/"))
    told = object()

    response = goes_on(request, told)

    assert scope[KEY] is told
    assert (response["Content-Type"], response["Cache-Control"], response["X-Accel-Buffering"]) == ("text/event-stream", "no-store", "no")
