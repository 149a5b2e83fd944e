"""One open stream, from the side of who tells: what it has still to be told, and how far it has heard."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Self
from uuid import UUID

from webapp.runs.live.news import Mark
from webapp.runs.live.passes import Pass

HEARTBEAT_SECONDS = 15.0
"""A comment is sent after so long a silence, so that proxies keep the connection and a closed one is noticed."""

RETRY = "retry: 1500\n\n"


class Reader:
    """Iterated over by its connection, told by the rounds. `left` is called once, when the connection has gone."""

    def __init__(self, admitted: Pass, left: Callable[[Any], None]) -> None:
        self.admitted = admitted
        self._left = left
        self._told: deque[str] = deque()
        self._greeted = False
        self._woken = asyncio.Event()
        self._ended = False

    @property
    def is_behind(self) -> bool:
        """Its connection has not taken what it was told last: it is told no more until then, so that nothing piles up."""
        return bool(self._told)

    def tell(self, text: str) -> None:
        self._told.append(text)
        self._woken.set()

    def end(self) -> None:
        """After what it was told it hears nothing more."""
        self._ended = True
        self._woken.set()

    def close(self) -> None:
        self.end()
        self._left(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        if not self._greeted:
            self._greeted = True
            return RETRY
        while not self._told:
            if self._ended:
                raise StopAsyncIteration
            self._woken.clear()
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                return ": still here\n\n"
        text = "".join(self._told)
        self._told.clear()
        return text


class RunReader(Reader):
    """Follows one run."""

    def __init__(self, admitted: Pass, left: Callable[[Any], None], run_id: UUID, mark: Mark) -> None:
        super().__init__(admitted, left)
        self.run_id, self.mark = run_id, mark


class TableReader(Reader):
    """Follows the rows of one table. `stale` are those that may have changed since it was told of them: all of them at first."""

    def __init__(self, admitted: Pass, left: Callable[[Any], None], ids: Collection[UUID]) -> None:
        super().__init__(admitted, left)
        self.ids = frozenset(ids)
        self.stale = set(ids)
        self.others = False
        """Runs that it does not show have been launched."""
