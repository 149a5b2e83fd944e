"""Waiting for a condition with a deadline: what tests do instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 4
"""How much longer a machine that is busy with other things is given: what comes in time costs nothing by it."""


def wait_for(condition: Callable[[], T | None], *, seconds: float = 30, every: float = 0.02, what: str = "") -> T:
    """Asks again and again until the condition is true, and returns what it said. Fails, saying what it waited for, after PATIENCE × `seconds`,
    where `seconds` are plenty on a machine that does nothing else. `every` is the seconds between two questions that cost something."""
    patience = PATIENCE * seconds
    deadline = time.monotonic() + patience
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:g} s in vain for {what or condition}; last answer: {answer!r}")
        time.sleep(every)
