"""How often is too often: token buckets in this process's own memory, as many as fit a bound. No server is asked, so none can be missing."""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured

RATE = re.compile(r"([0-9]{1,9}) ?/ ?([0-9]{0,9}) ?(s|m|h|d)[a-z]*")
PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MOST_KEPT = 20_000
"""So many callers are remembered, some 5 MB. The one that was quiet longest is forgotten first, and starts anew with a full bucket."""


@dataclass(frozen=True)
class Rate:
    """`count` at once, and again as many in `seconds`."""

    count: int
    seconds: float

    @classmethod
    def parse(cls, variable: str, text: str) -> "Rate":
        """`600/minute`, or `100/10s`: 100 at once and 10 a second. Raises ImproperlyConfigured."""
        found = RATE.fullmatch(text.strip().lower())
        count, times = (int(found[1]), int(found[2] or 1)) if found else (0, 0)
        if found is None or count == 0 or times == 0:
            raise ImproperlyConfigured(
                f"{variable} must be a number above 0 and a time, such as 600/minute, 100/10s or 30/hour; got {text!r:.80}."
            )
        return cls(count, times * PERIODS[found[3]])


class Buckets:
    """One bucket a key. Thread-safe."""

    def __init__(self, *, most_kept: int = MOST_KEPT, clock: Callable[[], float] = time.monotonic) -> None:
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._most_kept, self._clock = most_kept, clock
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, key: str, rate: Rate, cost: int = 1) -> float:
        """Takes `cost` from the key's bucket and returns 0; where there is not enough in it takes nothing, and returns the seconds until there is."""
        with self._lock:
            now = self._clock()
            level, since = self._levels.pop(key, (float(rate.count), now))
            level = min(float(rate.count), level + (now - since) * rate.count / rate.seconds)
            wait = max(0.0, (min(cost, rate.count) - level) * rate.seconds / rate.count)
            self._levels[key] = (level if wait else level - min(cost, rate.count), now)
            while len(self._levels) > self._most_kept:
                self._levels.popitem(last=False)
        return wait

    def forget(self) -> None:
        """Every bucket is full again."""
        with self._lock:
            self._levels.clear()
