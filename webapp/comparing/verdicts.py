"""Whether one group of seeds is better than another, or only came out so: the interval of the difference, and a verdict in one of four words.

Two runs of one seed and one cut of the data share the first weights and the order of batches, so the difference of a pair has less spread than
either; where two groups share at least three seeds the pairs are tested (Student's t of their differences), elsewhere the groups (Welch's t).
Of several candidates for one place the luckiest stands out by chance: Holm's correction keeps the probability that any of them is called better
or worse, where none is, at 5 % for each metric.

Sources: Student (1908), Biometrika 6; Welch (1947), Biometrika 34, with the degrees of freedom of Satterthwaite (1946), Biometrics 2; Holm (1979),
Scandinavian Journal of Statistics 6; McNemar (1947), Psychometrika 12, exact.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from scipy.special import bdtr, stdtr, stdtrit

from engine.statistics import CONFIDENCE, SEEDS_FOR_AN_INTERVAL, TIE, t_interval

Word = Literal["better", "worse", "undecided", "too few seeds"]
Direction = Literal["higher", "lower"]
Interval = tuple[float, float]

SEEDS_UNPAIRED: Final = 4
"""In each group: with three in one and many in the other, Welch's interval covers 92 % where it says 95 %."""

POWER: Final = 0.8
MOST_SEEDS: Final = 100
"""A difference that needs more than so many seeds in all is not worth deciding by seeds."""


@dataclass(frozen=True)
class Difference:
    """The mean of a candidate less that of the baseline. `n` counts pairs where `is_paired`, else the seeds of the smaller group.

    `interval` is that of 95 % and `p` two-sided, before any correction; both are None where the seeds are too few, or do not differ in anything.
    `spread` is the standard deviation of one difference: of a pair, or of one seed of each group.
    """

    mean: float
    n: int
    is_paired: bool
    spread: float | None = None
    interval: Interval | None = None
    p: float | None = None


@dataclass(frozen=True)
class Verdict:
    """`p` is corrected for the number of candidates. `more_seeds`, of an undecided one: how many seeds more would decide about a difference of
    the size that was found in four cases of five; None where that is more than MOST_SEEDS in all, or there is no difference."""

    word: Word
    difference: Difference
    p: float | None = None
    more_seeds: int | None = None


def difference_of(candidate: Mapping[int, float], baseline: Mapping[int, float]) -> Difference | None:
    """Of two groups that were measured on the same rows: seed → value. None where either is empty."""
    if not candidate or not baseline:
        return None
    shared = sorted(candidate.keys() & baseline.keys())
    if len(shared) >= SEEDS_FOR_AN_INTERVAL:
        return _paired([candidate[seed] - baseline[seed] for seed in shared])
    return _unpaired(list(candidate.values()), list(baseline.values()))


def verdicts(differences: Sequence[Difference | None], better: Direction | None) -> list[Verdict | None]:
    """One for each candidate of one comparison; None where there is no difference to judge, or the metric has no better."""
    if better is None:
        return [None] * len(differences)
    corrected = holm([each.p if each else None for each in differences])
    candidates = sum(p is not None for p in corrected)
    return [_verdict(each, p, better, candidates) if each else None for each, p in zip(differences, corrected, strict=True)]


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction, in the order given. A missing one is no candidate."""
    order = sorted((index for index, p in enumerate(ps) if p is not None), key=lambda index: ps[index] or 0.0)
    corrected: list[float | None] = [None] * len(ps)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * (ps[index] or 0.0)))
        corrected[index] = largest
    return corrected


def mcnemar(only_one: int, only_other: int) -> float:
    """The two-sided exact p-value of two models on the same rows: one is right and the other wrong on `only_one` rows, and the reverse.

    It is about these two models, and says nothing of another seed of theirs.
    """
    n = only_one + only_other
    return min(1.0, 2.0 * float(bdtr(min(only_one, only_other), n, 0.5))) if n else 1.0


def more_seeds(difference: Difference, candidates: int = 1) -> int | None:
    """How many seeds more are needed so that a true difference as large as the one found is decided with a probability of 0.8, were it the
    smallest p of so many candidates."""
    if difference.spread is None or abs(difference.mean) <= TIE:
        return None
    for n in range(max(difference.n + 1, SEEDS_FOR_AN_INTERVAL), MOST_SEEDS + 1):
        degrees = n - 1 if difference.is_paired else 2 * (n - 1)
        needed = stdtrit(degrees, 1 - (1 - CONFIDENCE) / (2 * candidates)) + stdtrit(degrees, POWER)
        if needed * difference.spread / math.sqrt(n) <= abs(difference.mean):
            return n - difference.n
    return None


def _paired(differences: Sequence[float]) -> Difference:
    mean, n, interval = statistics.fmean(differences), len(differences), t_interval(differences)
    if interval is None:
        return Difference(mean, n, is_paired=True)
    spread = statistics.stdev(differences)
    return Difference(mean, n, True, spread, interval, _two_sided(mean, spread / math.sqrt(n), n - 1))


def _unpaired(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    mean, n = statistics.fmean(ours) - statistics.fmean(theirs), min(len(ours), len(theirs))
    if n < SEEDS_UNPAIRED:
        return Difference(mean, n, is_paired=False)
    squares = [statistics.variance(values) / len(values) for values in (ours, theirs)]
    error = math.sqrt(sum(squares))
    if error <= TIE:
        return Difference(mean, n, is_paired=False)
    degrees = sum(squares) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(squares, (ours, theirs), strict=True))
    spread = math.sqrt(statistics.variance(ours) + statistics.variance(theirs))
    half = float(stdtrit(degrees, (1 + CONFIDENCE) / 2)) * error
    return Difference(mean, n, False, spread, (mean - half, mean + half), _two_sided(mean, error, degrees))


def _two_sided(mean: float, error: float, degrees: float) -> float:
    return 2.0 * float(stdtr(degrees, -abs(mean) / error))


def _verdict(difference: Difference, p: float | None, better: Direction, candidates: int) -> Verdict:
    if difference.n < (SEEDS_FOR_AN_INTERVAL if difference.is_paired else SEEDS_UNPAIRED):
        return Verdict("too few seeds", difference)
    if p is not None and p <= 1 - CONFIDENCE:
        return Verdict("better" if (difference.mean > 0) == (better == "higher") else "worse", difference, p)
    return Verdict("undecided", difference, p, more_seeds(difference, max(1, candidates)))
