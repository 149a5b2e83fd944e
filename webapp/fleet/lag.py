"""How long it takes from what a child says to its being committed, as a histogram. A worker counts, and adds what is new with its heartbeat."""

import threading
from collections import Counter

BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
BUCKET, SECONDS = "lag/le/", "lag/seconds"
"""Names in the tally: of a bucket, with its bound, and of the sum."""


class Lags:
    """What was measured and has not yet been told. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._new: Counter[str] = Counter()

    def measured(self, seconds: float) -> None:
        bound = next((bound for bound in BOUNDS if seconds <= bound), float("inf"))
        self.give_back({f"{BUCKET}{bound:g}": 1, SECONDS: seconds})

    def take(self) -> dict[str, float]:
        with self._lock:
            new, self._new = self._new, Counter()
            return dict(new)

    def give_back(self, amounts: dict[str, float]) -> None:
        """What could not be told."""
        with self._lock:
            for name, amount in amounts.items():
                self._new[name] += amount  # type: ignore[assignment]
