"""All open streams of one web process: who listens, how many may, and the tasks that tell them.

One subscription to Redis, one check of everyone's session and membership every few seconds, and one round of looks for each run and each
project that somebody follows. Looks are asked in a few threads, each of which borrows a connection for the length of a look. Nothing runs
while nobody listens.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from prometheus_client import Gauge

from webapp.runs.live.bell import Bell, Ring
from webapp.runs.live.news import Mark
from webapp.runs.live.passes import Pass, still_valid
from webapp.runs.live.reader import Reader, RunReader, TableReader
from webapp.runs.live.rounds import POLL_SECONDS, RunRounds, TableRounds

logger = logging.getLogger(__name__)

T = TypeVar("T")
Rounds = RunRounds | TableRounds

OPEN = Gauge("stillhouse_streams", "Live pages that are open over this web process.")

CHECK_SECONDS = 3.0
"""How long a stream outlives the session or the membership that it was opened with, at most, and the time of a look."""


class Full(Exception):
    """No further stream. The message is a sentence for who asked for it."""

    status = 503


class FullForOne(Full):
    """This person has as many as one may have."""

    status = 429


class Desk:
    """The streams of one event loop."""

    def __init__(self) -> None:
        self.readers: set[Reader] = set()
        self._rounds: dict[UUID | int, Rounds] = {}
        self._bell = Bell(self._hear, self._doubt)
        self._threads = ThreadPoolExecutor(settings.LIVE_CONNECTIONS, thread_name_prefix="live")
        self._tasks: dict[object, asyncio.Task[None]] = {}

    def follow_run(self, admitted: Pass, run_id: UUID, mark: Mark) -> RunReader:
        """Raises Full."""
        self._make_room(admitted.person)
        rounds = self._rounds.setdefault(run_id, RunRounds(run_id, self.ask))
        reader = RunReader(admitted, partial(self._leave, rounds, run_id), run_id, mark)
        self._enter(reader, rounds, run_id)
        return reader

    def follow_table(self, admitted: Pass, ids: Collection[UUID], *, others: bool = False) -> TableReader:
        """`others`: there are already runs that the table lacks. Raises Full."""
        self._make_room(admitted.person)
        rounds = self._rounds.setdefault(admitted.project, TableRounds(admitted.project, self.ask))
        reader = TableReader(admitted, partial(self._leave, rounds, admitted.project), ids)
        reader.others = others
        self._enter(reader, rounds, admitted.project)
        return reader

    async def ask(self, question: Callable[[], T], /) -> T:
        """Asks the database in one of the threads, and gives the connection back."""

        def asked() -> T:
            try:
                return question()
            finally:
                connection.close()

        return await asyncio.get_running_loop().run_in_executor(self._threads, asked)

    def _make_room(self, person: int) -> None:
        if len(self.readers) >= settings.STREAMS:
            raise Full(
                f"This server has {settings.STREAMS} live pages open, the most it takes; this page goes on when another one is closed."
            )
        if sum(reader.admitted.person == person for reader in self.readers) >= settings.STREAMS_A_PERSON:
            raise FullForOne(
                f"You have {settings.STREAMS_A_PERSON} live pages open, the most that one person may have; close some of them."
            )

    def _enter(self, reader: Any, rounds: Any, key: UUID | int) -> None:
        self.readers.add(reader)
        OPEN.set(len(self.readers))
        rounds.readers.add(reader)
        rounds.woken.set()
        self._keep("bell", self._bell.keep_listening)
        self._keep("check", self._keep_checking)
        self._keep(key, partial(self._keep_telling, rounds))

    def _leave(self, rounds: Any, key: UUID | int, reader: Any) -> None:
        self.readers.discard(reader)
        OPEN.set(len(self.readers))
        rounds.readers.discard(reader)
        if not rounds.readers and self._rounds.get(key) is rounds:
            del self._rounds[key]
            self._tasks.pop(key).cancel()
        if not self.readers:
            for name in ("bell", "check"):
                self._tasks.pop(name).cancel()

    def _keep(self, name: object, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if name not in self._tasks:
            self._tasks[name] = asyncio.create_task(work())

    def _hear(self, ring: Ring) -> None:
        for rounds in self._rounds.values():
            rounds.hear(ring)

    def _doubt(self) -> None:
        """Rings may have been missed: everyone looks."""
        for rounds in self._rounds.values():
            rounds.doubt()

    async def _keep_telling(self, rounds: Rounds) -> None:
        while True:
            await rounds.wait(rings=self._bell.listening)
            try:
                await rounds.look()
            except (DatabaseError, InterfaceError) as error:
                logger.warning("Live pages wait, because the database does not answer: %s", str(error).strip())
                await asyncio.sleep(POLL_SECONDS)
                rounds.woken.set()
            except Exception:
                logger.exception("Live pages were not told. They come back by themselves.")
                for reader in rounds.readers:
                    reader.end()

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            passes = {reader.admitted for reader in self.readers}
            try:
                valid = await self.ask(partial(still_valid, passes))
            except (DatabaseError, InterfaceError) as error:
                logger.warning("Who listens could not be checked, and is told nothing meanwhile: %s", str(error).strip())
                continue
            except Exception:
                logger.exception("Who listens could not be checked. Every live page ends, and comes back where it may.")
                valid = set()
            for reader in self.readers:
                if reader.admitted in passes - valid:
                    reader.end()


_desks: "WeakKeyDictionary[asyncio.AbstractEventLoop, Desk]" = WeakKeyDictionary()


def desk() -> Desk:
    """The desk of the running event loop; a web process has one loop."""
    loop = asyncio.get_running_loop()
    if loop not in _desks:
        _desks[loop] = Desk()
    return _desks[loop]
