"""Where a run's time goes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds by name, as the CPU sees them: work that a GPU still does when a name ends counts for whoever waits for it."""

    def __init__(self, *names: str, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds = dict.fromkeys(names, 0.0)
        self._clock = clock

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds what is spent inside to the seconds of `name`."""
        start = self._clock()
        try:
            yield
        finally:
            self.seconds[name] += self._clock() - start

    def state_dict(self) -> dict[str, float]:
        return dict(self.seconds)

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.seconds = dict(state)
