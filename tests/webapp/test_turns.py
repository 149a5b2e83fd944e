"""Turns: who waits, who is refused, and when a turn is over."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from tests.webapp.asgi import GONE, Exchange, answer, request, until
from webapp.gate.limits import IS_KNOWN
from webapp.turns import Turns


class Slow:
    """An application whose answers are computed when they are let go. `inside` are the requests that it has."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.inside: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        self.inside.append(scope)
        self.bodies.append((await receive()).get("body", b""))
        await self.go.wait()
        await answer(send)


def test_so_many_are_computed_at_once_and_the_others_wait_for_their_turn() -> None:
    async def visit() -> tuple[int, list[int | None]]:
        slow = Slow()
        turns, visits = Turns(slow, at_once=2, waiting=9, seconds=60), [Exchange() for _ in range(5)]
        tasks = [asyncio.create_task(one.go_through(turns)) for one in visits]
        await until(lambda: turns.queue == 3)
        inside = len(slow.inside)
        slow.go.set()
        await asyncio.gather(*tasks)
        return inside, [one.status for one in visits]

    inside, statuses = asyncio.run(visit())

    assert inside == 2
    assert statuses == [200] * 5


@pytest.mark.parametrize("path", ["/api/v1/runs/", "/p/distillery/"])
def test_who_finds_no_place_to_wait_is_told_when_to_come_back(path: str) -> None:
    async def visit() -> Exchange:
        slow = Slow()
        turns, refused = Turns(slow, at_once=1, waiting=1, seconds=60), Exchange(path=path)
        tasks = [asyncio.create_task(Exchange().go_through(turns)) for _ in range(2)]
        await until(lambda: turns.queue == 1)
        await refused.go_through(turns)
        slow.go.set()
        await asyncio.gather(*tasks)
        return refused

    refused = asyncio.run(visit())

    sentence = "Too many requests are waiting for an answer; ask again in a few seconds."
    assert (refused.status, refused.headers[b"retry-after"], refused.headers[b"cache-control"]) == (503, b"5", b"private, no-store")
    assert json.loads(refused.body) == {"detail": sentence} if path.startswith("/api/") else sentence.encode() in refused.body


def test_who_has_waited_long_enough_is_refused() -> None:
    async def visit() -> Exchange:
        slow, late = Slow(), Exchange()
        turns = Turns(slow, at_once=1, waiting=1, seconds=0.01)
        first = asyncio.create_task(Exchange().go_through(turns))
        await until(lambda: slow.inside)
        await late.go_through(turns)
        slow.go.set()
        await first
        return late

    assert asyncio.run(visit()).status == 503


def test_who_goes_away_while_waiting_makes_room() -> None:
    async def visit() -> tuple[Exchange, int]:
        slow, impatient, patient = Slow(), Exchange(), Exchange()
        turns = Turns(slow, at_once=1, waiting=1, seconds=600)
        first = asyncio.create_task(Exchange().go_through(turns))
        waits = asyncio.create_task(impatient.go_through(turns))
        await until(lambda: turns.queue == 1)
        impatient.say(GONE)
        async with asyncio.timeout(20):
            await waits
        then = asyncio.create_task(patient.go_through(turns))
        await until(lambda: turns.queue == 1)
        slow.go.set()
        await asyncio.gather(first, then)
        return patient, len(slow.inside)

    patient, inside = asyncio.run(visit())

    assert patient.status == 200
    assert inside == 2


def person() -> Exchange:
    """A request of somebody who is known."""
    asked = Exchange(path="/person")
    asked.scope[IS_KNOWN] = True
    return asked


class Crowd:
    """Requests that have come, each through when it is let go."""

    def __init__(self, at_once: int, waiting: int = 99) -> None:
        self.order: list[str] = []
        self.inside: list[asyncio.Event] = []
        self.turns = Turns(self._compute, at_once=at_once, waiting=waiting, seconds=60)
        self.tasks: list[asyncio.Task[None]] = []
        self.ended = 0

    async def _compute(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.order.append(scope["path"])
        go = asyncio.Event()
        self.inside.append(go)
        await go.wait()
        await answer(send)
        self.ended += 1

    async def come(self, *asked: Exchange) -> None:
        """They come one after the other; each has a turn, waits, or is refused when the next comes."""
        for number, one in enumerate(asked, start=len(self.tasks) + 1):
            self.tasks.append(asyncio.create_task(one.go_through(self.turns)))
            await until(partial(self._have_come, number))

    def _have_come(self, number: int) -> bool:
        return len(self.order) + self.turns.queue + sum(task.done() for task in self.tasks[len(self.order) :]) >= number

    async def end_all(self) -> None:
        """One after the other, in the order in which they began."""
        for number in range(len(self.order) + self.turns.queue):
            await until(lambda: len(self.inside) > number)  # noqa: B023
            self.inside[number].set()
            await until(lambda: self.ended > number)  # noqa: B023


def test_strangers_have_two_thirds_of_the_turns_and_a_person_waits_for_none_of_them() -> None:
    async def visit() -> tuple[list[str], int, int]:
        crowd = Crowd(at_once=3)
        await crowd.come(*(Exchange() for _ in range(9)))
        strangers, waiting = len(crowd.order), crowd.turns.queue
        await crowd.come(person())
        order = list(crowd.order)
        await crowd.end_all()
        return order, strangers, waiting

    assert asyncio.run(visit()) == (["/", "/", "/person"], 2, 7)


def test_people_go_before_strangers_who_came_first_and_one_turn_is_the_strangers() -> None:
    async def visit() -> list[str]:
        crowd = Crowd(at_once=3)
        await crowd.come(*(person() for _ in range(3)), *(Exchange() for _ in range(3)), *(person() for _ in range(3)))
        await crowd.end_all()
        return ["person" if path == "/person" else "stranger" for path in crowd.order]

    # A turn that is given back while no stranger has one goes to a stranger; every other goes to a person, while one waits.
    assert asyncio.run(visit()) == ["person"] * 3 + ["stranger", "person", "person", "stranger", "person", "stranger"]


def test_with_a_single_turn_people_go_first() -> None:
    async def visit() -> list[str]:
        crowd = Crowd(at_once=1)
        await crowd.come(Exchange(), Exchange(), person())
        await crowd.end_all()
        return crowd.order

    assert asyncio.run(visit()) == ["/", "/person", "/"]


def test_strangers_fill_their_own_places_to_wait_and_none_of_the_peoples() -> None:
    async def visit() -> tuple[int | None, int | None]:
        crowd, refused, served = Crowd(at_once=3, waiting=2), Exchange(), person()
        await crowd.come(person(), *(Exchange() for _ in range(4)), refused, served)
        status = refused.status
        await crowd.end_all()
        return status, served.status

    assert asyncio.run(visit()) == (503, 200)


def test_one_that_is_ended_in_the_moment_of_its_turn_gives_it_back() -> None:
    async def visit() -> tuple[int | None, int]:
        crowd, late = Crowd(at_once=1), Exchange()
        await crowd.come(Exchange(), Exchange())
        crowd.inside[0].set()
        await until(crowd.tasks[0].done)
        for _ in range(3):  # wherever between its turn and its beginning
            crowd.tasks[1].cancel()
            await asyncio.sleep(0)
        await asyncio.gather(*crowd.tasks, return_exceptions=True)
        task = asyncio.create_task(late.go_through(crowd.turns))
        await until(lambda: crowd.order[1:])
        for go in crowd.inside:
            go.set()
        await task
        return late.status, crowd.turns.queue

    assert asyncio.run(visit()) == (200, 0)


def test_neither_a_body_that_comes_slowly_nor_one_that_is_read_slowly_has_a_turn() -> None:
    async def visit() -> tuple[Slow, Exchange]:
        slow, writes, other, read = Slow(), Exchange(request(b"first ", more=True)), Exchange(), asyncio.Event()
        turns = Turns(slow, at_once=1, waiting=0, seconds=60)
        slow.go.set()

        async def send_slowly(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                await read.wait()

        reads = asyncio.create_task(turns(Exchange().scope, Exchange()._said.get, send_slowly))
        writing = asyncio.create_task(writes.go_through(turns))
        await until(lambda: slow.inside)
        await other.go_through(turns)
        writes.say(request(b"second"))
        read.set()
        await asyncio.gather(reads, writing)
        return slow, other

    slow, other = asyncio.run(visit())

    assert other.status == 200
    assert b"first " in slow.bodies


def test_an_application_that_fails_gives_its_turn_back() -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("broken")

    async def visit() -> list[str]:
        turns, said = Turns(fail, at_once=1, waiting=0, seconds=60), []
        for _ in range(3):
            with pytest.raises(RuntimeError) as failed:
                await Exchange().go_through(turns)
            said.append(str(failed.value))
        return said

    assert asyncio.run(visit()) == ["broken"] * 3
