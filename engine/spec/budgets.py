"""Two budgets beside each other: which is the larger one, and what they are called. No torch."""

import math
from typing import Literal

from engine.spec.run_spec import Budget


def growth(*, steps: int, seconds: float | None, steps_before: int, seconds_before: float | None) -> Literal["smaller", "same", "larger"]:
    """What a budget is beside the one before it. Without a limit of seconds there are as many as there may be; less of either is less."""
    now, before = (steps, seconds or math.inf), (steps_before, seconds_before or math.inf)
    if now[0] < before[0] or now[1] < before[1]:
        return "smaller"
    return "same" if now == before else "larger"


def in_words(budget: Budget) -> str:
    """`12 steps`, `3 epochs and at most 5 seconds`."""
    count, word = (budget.steps, "step") if budget.steps is not None else (budget.epochs or 1, "epoch")
    limit = f" and at most {budget.seconds:g} seconds" if budget.seconds is not None else ""
    return f"{count:,} {word}{'s' * (count != 1)}{limit}"
