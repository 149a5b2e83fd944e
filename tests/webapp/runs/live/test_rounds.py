"""Rounds: one look for everyone who follows the same run or project, and nobody is told what was not asked for."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.utils import timezone

from tests.webapp.batches import write_points
from tests.webapp.conftest import RunMaker
from webapp.runs.live.bell import Ring
from webapp.runs.live.news import Mark
from webapp.runs.live.passes import Pass
from webapp.runs.live.reader import RETRY, Reader, RunReader, TableReader
from webapp.runs.live.rounds import RunRounds, TableRounds
from webapp.runs.models import Run

ADMITTED = Pass("session", 1, "password", 1)


def nothing(_: Reader) -> None:
    """What a reader does when it leaves."""


def told(reader: Reader) -> str:
    """What waits for its connection."""
    return "".join(reader._told)


def taken(reader: Reader) -> Any:
    async def take() -> str:
        return await anext(reader)

    return take()


async def in_a_thread(question: Callable[[], Any]) -> Any:
    """On a connection of its own, which is closed."""

    def asked() -> Any:
        try:
            return question()
        finally:
            connection.close()

    return await sync_to_async(asked, thread_sensitive=False)()


class Database:
    """Asks in a thread, as the desk does, and counts."""

    def __init__(self) -> None:
        self.looks = 0

    async def ask(self, question: Callable[[], Any], /) -> Any:
        self.looks += 1
        return await in_a_thread(question)


def test_a_reader_is_greeted_told_and_ended_in_this_order() -> None:
    async def read() -> list[str]:
        reader = Reader(ADMITTED, nothing)
        reader.tell("one")
        reader.tell("two")
        reader.end()
        return [text async for text in reader]

    assert asyncio.run(read()) == [RETRY, "onetwo"]


def test_a_reader_leaves_when_its_connection_has_gone() -> None:
    left: list[Reader] = []

    async def read() -> Reader:
        reader = Reader(ADMITTED, left.append)
        reader.close()
        return reader

    reader = asyncio.run(read())

    assert left == [reader]


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
class TestRunRounds:
    def test_everyone_who_follows_a_run_is_told_by_one_look(self, running_run: RunMaker) -> None:
        run, database = running_run(), Database()
        write_points(run, (1, 3.0))

        async def tell() -> list[str]:
            rounds = RunRounds(run.pk, database.ask)
            readers = [RunReader(ADMITTED, nothing, run.pk, Mark()) for _ in range(50)]
            rounds.readers.update(readers)
            await rounds.look()
            return [told(reader) for reader in readers]

        texts = asyncio.run(tell())

        assert database.looks == 1
        assert len(set(texts)) == 1 and "event: points" in texts[0] and "event: status" in texts[0]

    def test_who_has_heard_more_is_told_less_by_the_same_look(self, running_run: RunMaker) -> None:
        run, database = running_run(), Database()
        write_points(run, (1, 3.0))

        async def tell() -> list[str]:
            rounds = RunRounds(run.pk, database.ask)
            new, old = (RunReader(ADMITTED, nothing, run.pk, Mark(cursor)) for cursor in ("", "1"))
            rounds.readers.update({new, old})
            await rounds.look()
            return [told(new), told(old)]

        new, old = asyncio.run(tell())

        assert database.looks == 1
        assert "event: points" in new and "event: points" not in old and "event: status" in old

    def test_a_reader_whose_connection_is_slow_is_told_later_and_then_all(self, running_run: RunMaker) -> None:
        run, database = running_run(), Database()

        async def tell() -> tuple[str, str]:
            rounds = RunRounds(run.pk, database.ask)
            slow = RunReader(ADMITTED, nothing, run.pk, Mark())
            rounds.readers.add(slow)
            await rounds.look()
            await in_a_thread(partial(write_points, run, (1, 3.0)))
            await rounds.look()
            first = told(slow)
            await taken(slow), await taken(slow)
            await in_a_thread(partial(write_points, run, (2, 2.0)))
            await rounds.look()
            return first, told(slow)

        first, then = asyncio.run(tell())

        assert database.looks == 2
        assert "event: points" not in first
        assert '{"loss":[[1,2],[3.0,2.0]]}' in then

    def test_a_ring_for_the_run_ends_the_waiting_and_others_do_not(self, running_run: RunMaker) -> None:
        run = running_run()

        async def wait() -> list[bool]:
            rounds, woken = RunRounds(run.pk, Database().ask), []
            for run_id in (uuid4(), run.pk):
                rounds.hear(Ring(run_id, frozenset({"points"}), None))
                woken.append(rounds.woken.is_set())
            return woken

        assert asyncio.run(wait()) == [False, True]


def rows_in(text: str) -> list[str]:
    """The ids of the rows in what a table is told."""
    return [
        run_id for part in text.split("\n\n") if part.startswith("event: rows") for run_id in json.loads(part.split("data: ")[1])["rows"]
    ]


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
class TestTableRounds:
    def tell(self, runs: list[Run], *rings: Ring, deed: Callable[[], Awaitable[None]] | None = None) -> tuple[Database, str, str]:
        """What two tables, of all these runs and of the first, are told when it rings, once they have been told everything."""
        database = Database()

        async def told_by_rings() -> tuple[str, str]:
            rounds = TableRounds(runs[0].project_id, database.ask)
            both = [TableReader(ADMITTED, nothing, {run.pk for run in some}) for some in (runs, runs[:1])]
            rounds.readers.update(both)
            await rounds.look()
            for reader in both:
                await taken(reader), await taken(reader)
            database.looks = 0
            if deed is not None:
                await deed()
            for ring in rings:
                rounds.hear(ring)
            await rounds.look()
            return told(both[0]), told(both[1])

        return database, *asyncio.run(told_by_rings())

    def test_only_the_rows_that_changed_are_asked_for_and_told_to_whom_shows_them(self, running_run: RunMaker) -> None:
        runs = [running_run(name=f"run {number}") for number in range(3)]

        database, of_all, of_first = self.tell(runs, ring(runs[1].pk, "progress"), ring(runs[1].pk, "state"))

        assert database.looks == 1
        assert (rows_in(of_all), of_first) == ([str(runs[1].pk)], "")

    def test_while_nothing_happens_nothing_is_asked(self, running_run: RunMaker) -> None:
        runs = [running_run()]

        database, of_all, of_first = self.tell(runs, ring(runs[0].pk, "points", "log", "artifact"), ring(uuid4(), "state"))

        assert (database.looks, of_all, of_first) == (0, "", "")

    def test_a_launch_in_the_project_is_told_and_one_elsewhere_is_not(self, running_run: RunMaker) -> None:
        run = running_run()

        _, here, _ = self.tell([run], Ring(uuid4(), frozenset({"state", "launched"}), run.project_id))
        _, elsewhere, _ = self.tell([run], Ring(uuid4(), frozenset({"state", "launched"}), run.project_id + 1))

        assert (here, elsewhere) == ("event: changed\ndata: {}\n\n", "")

    def test_a_row_that_went_into_the_trash_is_told_as_a_change_of_the_table(self, finished_run: RunMaker) -> None:
        run = finished_run()
        trash = partial(in_a_thread, lambda: Run.objects.filter(pk=run.pk).update(deleted_at=timezone.now()))

        _, text, _ = self.tell([run], ring(run.pk, "state"), deed=trash)

        assert rows_in(text) == [] and text.endswith("event: changed\ndata: {}\n\n")

    def test_a_look_that_failed_is_made_up_for(self, running_run: RunMaker) -> None:
        run, database = running_run(), Database()

        async def fail(_: Callable[[], Any], /) -> Any:
            raise ConnectionError

        async def look_twice() -> str:
            rounds = TableRounds(run.project_id, fail)
            reader = TableReader(ADMITTED, nothing, {run.pk})
            rounds.readers.add(reader)
            with pytest.raises(ConnectionError):
                await rounds.look()
            rounds._ask = database.ask
            await rounds.look()
            return told(reader)

        assert rows_in(asyncio.run(look_twice())) == [str(run.pk)]


def ring(run_id: UUID, *kinds: str) -> Ring:
    return Ring(run_id, frozenset(kinds), None)
