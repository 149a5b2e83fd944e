"""What goes wrong early: sentences for a person, each the same once it holds, so that it is logged once."""

from collections.abc import Sequence
from typing import Final

from engine.methods.steve_evolving.episodes import Episode, halves, share

ENOUGH: Final = 10
"""Episodes in each half before a warning compares the two."""
FALLBACKS: Final = 0.03
PRECISION: Final = 0.9


def early_warnings(episodes: Sequence[Episode], *, total: int) -> list[str]:
    """What a person should look at after these of `total` episodes."""
    return [*_of_the_whole_run(episodes, total=total), *_of_the_guardrails(episodes)]


def _of_the_whole_run(episodes: Sequence[Episode], *, total: int) -> list[str]:
    """The second half against the first, when all episodes have been played."""
    found = []
    first, last = halves(episodes)
    if len(episodes) < total or len(first) < ENOUGH:
        return []
    before, after = share(first, "success"), share(last, "success")
    if before is not None and after is not None and after < before:
        found.append(f"Success fell from {before:.2f} in the first half to {after:.2f} in the last half of the episodes.")
    before, after = share(first, "repeated", "actions"), share(last, "repeated", "actions")
    if before is not None and after is not None and after >= before > 0:
        found.append(
            f"Actions that repeat an earlier failure did not become fewer: {before:.3f} of all in the first half, then {after:.3f}."
        )
    return found


def _of_the_guardrails(episodes: Sequence[Episode]) -> list[str]:
    """Whether they forbid what would have succeeded, or everything."""
    found = []
    if len(episodes) < ENOUGH:
        return []
    precision = share(episodes, "rightly", "blocked")
    if precision is not None and precision < PRECISION:
        found.append(f"More than {1 - PRECISION:.0%} of the actions that guardrails blocked would have succeeded; raise m_min.")
    fallbacks = share(episodes, "fallbacks", "actions")
    if fallbacks is not None and fallbacks > FALLBACKS:
        found.append(f"Guardrails forbid every action in more than {FALLBACKS:.0%} of the steps; raise m_min.")
    return found
