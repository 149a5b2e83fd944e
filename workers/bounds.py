"""The memory and the time that one child may have. Looked at with each heartbeat, by the worker's own clock."""

import time
from collections.abc import Callable

from rich.filesize import decimal

from workers.launcher import Child
from workers.memory import Group, used

SECONDS_TO_STOP = 120.0
"""How long a child whose time is over has for its last step and its checkpoint, before it is ended."""


class Bounds:
    """Of one attempt. `seconds` is what is left of the run's time limit, None without one; `memory` are bytes of main memory."""

    def __init__(self, *, seconds: float | None, memory: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.time_is_up = False
        self.memory_was_full = ""
        """One sentence, once the child was ended for it."""
        self._clock, self._memory = clock, memory
        self._until = None if seconds is None else clock() + seconds
        self._child: Child | None = None
        self._group: Group | None = None

    def hold(self, child: Child) -> None:
        """From now on the child is held to them."""
        self._child, self._group = child, Group.for_processes(child.pids, self._memory)

    def enforce(self) -> None:
        """Asks the child to stop when its time is over, and ends it when it does not, or when it takes more memory than it may have."""
        if self._child is None:
            return
        if (taken := used(*self._child.pids)) > self._memory:
            self._say_that_memory_was_full(taken)
            self._child.kill()
        elif self._until is not None and self._clock() >= self._until:
            self.time_is_up = True
            if self._clock() >= self._until + SECONDS_TO_STOP:
                self._child.kill()
            else:
                self._child.stop()

    def release(self) -> None:
        """The child has ended. Says whether the kernel has ended it because its memory was full."""
        if self._group is not None:
            if self._group.killed():
                self._say_that_memory_was_full(self._memory)
            self._group.remove()

    def _say_that_memory_was_full(self, taken: int) -> None:
        self.memory_was_full = (
            f"The run took {decimal(taken)} of memory and may have {decimal(self._memory)} here; try a smaller batch_size or model, or ask "
            "the operator for more (STILLHOUSE_RUN_MEMORY)."
        )
