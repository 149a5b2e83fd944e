"""What already looks wrong when the sources are scored, before the first step of the transfer."""

from collections.abc import Iterator, Sequence

from engine.methods.distill_similar.card import Settings
from engine.methods.distill_similar.selection import Interval, weights_of

NEARLY_UNIFORM = 0.95
"""Share of log(classes) above which a source says next to nothing of the target's rows."""


def of_similarities(chosen: Sequence[float], intervals: Sequence[Interval | None], settings: Settings) -> Iterator[str]:
    """Of each source's similarity and its interval, None where none was taken."""
    if max(chosen) <= 0:
        yield "No source is similar to the target task: all similarities are at most 0. The largest one is used."
    elif settings.selection == "weighted" and max(weights_of(chosen, power=settings.power)) < settings.least_weight:
        yield f"All weights are below least_weight, {settings.least_weight:g}: only the most similar source is used."
    if len(chosen) > 1 and within_noise(chosen, intervals):
        yield "The two most similar sources are within each other's interval: more labels would be needed to tell them apart."


def of_outputs(spreads: dict[int, float]) -> Iterator[str]:
    """Of the mean entropy of the outputs of each source in use, by its index, as a share of log(classes)."""
    for index, spread in spreads.items():
        if spread > NEARLY_UNIFORM:
            yield f"Source {index + 1} says nearly the same of every class: it may expect other inputs."


def within_noise(chosen: Sequence[float], intervals: Sequence[Interval | None]) -> bool:
    """Whether the interval of the second most similar source reaches the first one's similarity."""
    first, second = sorted(range(len(chosen)), key=lambda source: -chosen[source])[:2]
    interval = intervals[second]
    return interval is not None and interval[1] >= chosen[first]
