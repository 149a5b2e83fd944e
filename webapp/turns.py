"""How many requests are computed at once, how many may wait for their turn, and for how long.

Under ASGI each request gets a thread of its own, and the thread a connection to the database: without a bound, two hundred requests are two
hundred of both. More threads than processors make nothing faster, so a request waits here, where waiting costs nothing, and who would wait
too long is told so at once. A turn is over when the answer has been computed: neither who sends a body slowly nor who reads slowly has one.

People who are known here (webapp/gate/limits.py) and strangers wait in lanes of their own. Strangers have two thirds of the turns at most, and
people go first, so a crowd at the door costs a member no more than what it is being answered; yet one turn is the strangers' while any waits.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGIReceiveEvent, ASGISendCallable, ASGISendEvent, Scope
from prometheus_client import Gauge

from webapp.gate.limits import IS_KNOWN
from webapp.gate.refusal import NotNow, response_to

WAITING = Gauge("stillhouse_requests_waiting", "Requests that wait for their turn in this web process.")
RETRY_SECONDS = 5
SENTENCE = "Too many requests are waiting for an answer; ask again in a few seconds."


class Lane:
    """Those who wait for a turn, and how many have one: `most` at the same time."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self.waiting: deque[asyncio.Future[None]] = deque()

    def may_go(self) -> bool:
        return bool(self.waiting) and self.held < self.most


class Turns:
    """Lets `at_once` requests through to the application, and `waiting` more of each lane wait `seconds` at most; others get 503."""

    def __init__(self, app: ASGI3Application, *, at_once: int, waiting: int, seconds: float) -> None:
        self.app, self.waiting, self.seconds = app, waiting, seconds
        self._free = at_once
        self._people, self._strangers = Lane(at_once), Lane(-(-2 * at_once // 3))

    @property
    def queue(self) -> int:
        """How many wait."""
        return len(self._people.waiting) + len(self._strangers.waiting)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = await _whole(receive)
        lane = self._people if cast(dict[str, bool], scope).get(IS_KNOWN) else self._strangers
        if not await self._has_turn(lane, receive):
            await _refuse(scope["path"], send)
            return
        give_back = _once(lambda: self._give_back(lane))

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

    async def _has_turn(self, lane: Lane, receive: ASGIReceiveCallable) -> bool:
        """Waits for it; who goes away meanwhile makes room for others."""
        if self._free and lane.held < lane.most:
            self._take(lane)
            return True
        if len(lane.waiting) >= self.waiting:
            return False
        turn, gone = asyncio.get_running_loop().create_future(), asyncio.ensure_future(receive())
        lane.waiting.append(turn)
        WAITING.inc()
        try:
            await asyncio.wait({turn, gone}, timeout=self.seconds, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if turn.done():
                self._give_back(lane)
            raise
        finally:
            WAITING.dec()
            gone.cancel()
            if not turn.done():
                lane.waiting.remove(turn)
        return turn.done()

    def _take(self, lane: Lane) -> None:
        self._free -= 1
        lane.held += 1

    def _give_back(self, lane: Lane) -> None:
        self._free += 1
        lane.held -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        """Free turns, to people before strangers, but to a stranger first while none has one and some person does."""
        while self._free:
            in_order = (
                [self._strangers, self._people] if self._people.held and not self._strangers.held else [self._people, self._strangers]
            )
            lane = next(filter(Lane.may_go, in_order), None)
            if lane is None:
                return
            self._take(lane)
            lane.waiting.popleft().set_result(None)


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
