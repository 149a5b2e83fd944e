"""Colors of runs. Okabe and Ito's set without its yellow and black, which vanish on white and on dark, and with a violet and a brown."""

from collections.abc import Sequence

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8274d6", "#8f6b4e")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
NEUTRAL = "#8a8378"
"""Reference lines: the diagonal, a random order, a baseline."""


def slot_of(number: int) -> int:
    """The run's place in COLORS: a function of its number alone, so that it looks the same on every page and unlike the next seven runs."""
    return number % len(COLORS)


def color_of(number: int) -> str:
    return COLORS[slot_of(number)]


def styles_of(numbers: Sequence[int]) -> list[tuple[str, str]]:
    """(color, dash) for runs drawn together, by their numbers. Each keeps its color; those that share one are told apart by the dash."""
    seen: dict[str, int] = {}
    styles = []
    for number in numbers:
        color = color_of(number)
        styles.append((color, DASHES[seen.get(color, 0) % len(DASHES)]))
        seen[color] = seen.get(color, 0) + 1
    return styles


def translucent(color: str, alpha: float) -> str:
    """`#rrggbb` as CSS rgba()."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
