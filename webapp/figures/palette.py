"""Colors of runs. Okabe and Ito's set without its yellow and black, which vanish on white and on dark, and with a violet and a brown."""

from collections.abc import Sequence
from hashlib import blake2s

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8274d6", "#8f6b4e")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
NEUTRAL = "#8a8378"
"""Reference lines: the diagonal, a random order, a baseline."""


def slot_of(run_id: object) -> int:
    """The run's place in COLORS: a function of its id alone, so that a run looks the same on every page."""
    return blake2s(str(run_id).encode(), digest_size=2).digest()[0] % len(COLORS)


def color_of(run_id: object) -> str:
    return COLORS[slot_of(run_id)]


def styles_of(run_ids: Sequence[object]) -> list[tuple[str, str]]:
    """(color, dash) for runs drawn together. Each keeps its color; those that share one are told apart by the dash."""
    seen: dict[str, int] = {}
    styles = []
    for run_id in run_ids:
        color = color_of(run_id)
        styles.append((color, DASHES[seen.get(color, 0) % len(DASHES)]))
        seen[color] = seen.get(color, 0) + 1
    return styles


def translucent(color: str, alpha: float) -> str:
    """`#rrggbb` as CSS rgba()."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
