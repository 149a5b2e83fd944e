"""How many requests are computed at once, how many may wait for their turn, and for how long.

Under ASGI each request gets a thread of its own, and the thread a connection to the database: without a bound, two hundred requests are two
hundred of both. More threads than processors make nothing faster, so a request waits here, where waiting costs nothing, and who would wait
too long is told so at once. A turn is over when the answer has been computed: neither who sends a body slowly nor who reads slowly has one.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGIReceiveEvent, ASGISendCallable, ASGISendEvent, Scope
from prometheus_client import Gauge

from webapp.gate.refusal import NotNow, response_to

WAITING = Gauge("stillhouse_requests_waiting", "Requests that wait for their turn in this web process.")
RETRY_SECONDS = 5
SENTENCE = "Too many requests are waiting for an answer; ask again in a few seconds."


class Turns:
    """Lets `at_once` requests through to the application, and `waiting` more wait `seconds` at most; others get 503."""

    def __init__(self, app: ASGI3Application, *, at_once: int, waiting: int, seconds: float) -> None:
        self.app, self.waiting, self.seconds = app, waiting, seconds
        self._turns = asyncio.Semaphore(at_once)
        self.queue = 0

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = await _whole(receive)
        if not await self._has_turn(receive):
            await _refuse(scope["path"], send)
            return
        give_back = _once(self._turns.release)

        async def send_and_give_back(message: ASGISendEvent) -> None:
            if message["type"] == "http.response.start":
                give_back()
            await send(message)

        async def receive_again() -> ASGIReceiveEvent:
            return asked.popleft() if asked else await receive()

        try:
            await self.app(scope, receive_again, send_and_give_back)
        finally:
            give_back()

    async def _has_turn(self, receive: ASGIReceiveCallable) -> bool:
        """Waits for it; who goes away meanwhile makes room for others."""
        if not self._turns.locked():
            return await self._turns.acquire()
        if self.queue >= self.waiting:
            return False
        self.queue += 1
        turn, gone = asyncio.ensure_future(self._turns.acquire()), asyncio.ensure_future(receive())
        WAITING.inc()
        try:
            await asyncio.wait({turn, gone}, timeout=self.seconds, return_when=asyncio.FIRST_COMPLETED)
            return turn.done()
        finally:
            turn.cancel()
            gone.cancel()
            self.queue -= 1
            WAITING.dec()


async def _whole(receive: ASGIReceiveCallable) -> deque[ASGIReceiveEvent]:
    """The request's body to its end, or to where the client went away. Its size has been bounded before."""
    messages: deque[ASGIReceiveEvent] = deque()
    while True:
        message = await receive()
        messages.append(message)
        if message["type"] != "http.request" or not message["more_body"]:
            return messages


def _once(act: Callable[[], None]) -> Callable[[], None]:
    done = False

    def act_once() -> None:
        nonlocal done
        if not done:
            done = True
            act()

    return act_once


async def _refuse(path: str, send: ASGISendCallable) -> None:
    answer = response_to(NotNow(SENTENCE, status=503, seconds=RETRY_SECONDS), path)
    headers = [(name.lower().encode(), value.encode()) for name, value in answer.items()]
    await send({"type": "http.response.start", "status": answer.status_code, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": answer.content, "more_body": False})
