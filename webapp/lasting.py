"""Answers that go on after their request: server-sent events.

Django keeps a thread and its database connection for each request until the answer's last byte, and an open page's stream has no last byte
for hours. So a view says only that the answer goes on, and with what; Django ends the request as any other, gives back thread and
connection, and what is told from then on is sent from here. A stream is then a coroutine and a socket.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol, cast

from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
    Scope,
)
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse

KEY = "stillhouse.told"


class Told(Protocol):
    """What is told after the request: texts, until it has ended. `end` is called when the reader has gone, `close` always, and last."""

    def __aiter__(self) -> AsyncIterator[str]: ...
    def end(self) -> None: ...
    def close(self) -> None: ...


def goes_on(request: HttpRequest, told: Told) -> HttpResponse:
    """The beginning of a stream of server-sent events, for a view to return. `told` belongs to the stream from here."""
    cast(dict[str, Told], cast(ASGIRequest, request).scope)[KEY] = told
    return HttpResponse(content_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


class Lasting:
    """Sends the rest of answers that go on, once the application has ended the request."""

    def __init__(self, app: ASGI3Application) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        lasting = cast(dict[str, Told], scope)

        async def send_beginning(message: ASGISendEvent) -> None:
            if KEY not in lasting:
                await send(message)
            elif message["type"] == "http.response.start":
                await send(_without_length(message))

        try:
            await self.app(scope, receive, send_beginning)
            if KEY in lasting:
                await _go_on(lasting[KEY], receive, send)
        finally:
            if KEY in lasting:
                lasting[KEY].close()


def _without_length(start: HTTPResponseStartEvent) -> HTTPResponseStartEvent:
    return {**start, "headers": [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]}


async def _go_on(told: Told, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    async def until_gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        told.end()

    gone = asyncio.create_task(until_gone())
    try:
        async for text in told:
            await send(_part(text, more=True))
        await send(_part("", more=False))
    finally:
        gone.cancel()


def _part(text: str, *, more: bool) -> HTTPResponseBodyEvent:
    return {"type": "http.response.body", "body": text.encode(), "more_body": more}
