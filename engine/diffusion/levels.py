"""A generator's noise levels as a person gives them. No torch."""

from collections.abc import Sequence
from itertools import pairwise


def level_problem(levels: Sequence[float]) -> str | None:
    """What is wrong with a generator's levels, as a sentence; None if nothing."""
    if not levels:
        return "must hold at least one noise level; got []."
    if levels[-1] <= 0 or any(later >= earlier for earlier, later in pairwise(levels)):
        return f"must be positive and descend; got {list(levels)}."
    return None


def architecture_name(levels: Sequence[float]) -> str:
    """A generator's, for people."""
    return "generator, 1 step" if len(levels) == 1 else f"generator, {len(levels)} steps"
