"""The rounds of who tells: one look at the database serves everyone who follows the same run, or tables of the same project.

A round waits until something rings, or until it has not looked for a while, looks, and tells each reader what it has not heard. Readers
whose connection has not taken the last yet are left for a later round.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar
from uuid import UUID

from webapp.runs.live import news, rows
from webapp.runs.live.bell import Ring
from webapp.runs.live.reader import RunReader, TableReader

T = TypeVar("T")

LOOK_SECONDS = 5.0
"""How often to look at a run though nobody rang: what is not announced (a rate, a time left) gets no older than this."""

TABLE_LOOK_SECONDS = 30.0
"""The same for tables, whose rows change with rings only."""

POLL_SECONDS = 1.0
"""The same for both, while Redis can't be reached."""

SECONDS_A_MESSAGE = 0.25
"""At most four messages a second and reader."""

SECONDS_A_TABLE = 2.0
"""A table is told at most so often."""

IN_TABLES = frozenset({"state", "progress", "evaluation"})
"""What a table shows something of."""


class Asker(Protocol):
    """Asks the database in a thread."""

    def __call__(self, question: Callable[[], T], /) -> Awaitable[T]: ...


class RunRounds:
    """Everyone who follows one run."""

    def __init__(self, run_id: UUID, ask: Asker) -> None:
        self.readers: set[RunReader] = set()
        self.woken = asyncio.Event()
        self._run_id, self._ask = run_id, ask

    def hear(self, ring: Ring) -> None:
        if ring.run_id == self._run_id:
            self.woken.set()

    def doubt(self) -> None:
        """Anything may have happened: rings may have been missed."""
        self.woken.set()

    async def wait(self, *, rings: bool) -> None:
        await _woken(self.woken, LOOK_SECONDS if rings else POLL_SECONDS)

    async def look(self) -> None:
        ready = [reader for reader in self.readers if not reader.is_behind]
        if not ready:
            return
        found = await self._ask(partial(news.look, self._run_id, {reader.mark for reader in ready}))
        for reader in ready:
            if found is not None:
                self._tell(reader, found[reader.mark])
            else:
                reader.end()
        most = max((len(each.messages) for each in (found or {}).values()), default=0)
        await asyncio.sleep(SECONDS_A_MESSAGE * most)

    def _tell(self, reader: RunReader, found: news.News) -> None:
        reader.mark = found.mark
        if found.text:
            reader.tell(found.text)
        if found.ended:
            reader.end()


class TableRounds:
    """Everyone who has a table of one project's runs open."""

    def __init__(self, project: int, ask: Asker) -> None:
        self.readers: set[TableReader] = set()
        self.woken = asyncio.Event()
        self._project, self._ask = project, ask

    def hear(self, ring: Ring) -> None:
        for reader in self.readers:
            if ring.run_id in reader.ids:
                reader.stale |= {ring.run_id} if ring.kinds & IN_TABLES else set()
            elif "launched" in ring.kinds and ring.project == self._project:
                reader.others = True
        if any(reader.stale or reader.others for reader in self.readers):
            self.woken.set()

    async def wait(self, *, rings: bool) -> None:
        if not await _woken(self.woken, TABLE_LOOK_SECONDS if rings else POLL_SECONDS):
            self.doubt()

    def doubt(self) -> None:
        """Any row may have changed: rings may have been missed."""
        for reader in self.readers:
            reader.stale |= reader.ids
        self.woken.set()

    async def look(self) -> None:
        ready = [reader for reader in self.readers if not reader.is_behind and (reader.stale or reader.others)]
        if not ready:
            return
        asked = {reader: frozenset(reader.stale) for reader in ready}
        for reader in ready:
            reader.stale -= asked[reader]
        try:
            found = await self._ask(partial(rows.look, self._project, frozenset().union(*asked.values())))
        except Exception:
            for reader in ready:
                reader.stale |= asked[reader]
            raise
        texts: dict[frozenset[UUID], str] = {}
        for reader in ready:
            ids = asked[reader]
            if ids and ids not in texts:
                texts[ids] = rows.rows_event({run_id: found[run_id] for run_id in ids if run_id in found})
            changed = reader.others or not ids <= found.keys()
            reader.others = False
            reader.tell(texts.get(ids, "") + (rows.CHANGED if changed else ""))
        await asyncio.sleep(SECONDS_A_TABLE)


async def _woken(event: asyncio.Event, seconds: float) -> bool:
    """Whether it was set within so many seconds. It is cleared: what sets it from here on counts for the next time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    event.clear()
    return True
