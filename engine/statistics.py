"""What differences over seeds say: pairs, Student's interval of their mean, and the verdict on a claim about it.

A run of two methods with one seed shares the data's cut, the first weights and the order of batches, so their difference has less spread than
either; the seeds are a sample of such differences. A claim says that the true mean difference lies in an open interval: (margin, ∞) for "more
than the margin", (−by, by) for "the same within by". Source of the interval: Student (1908), "The probable error of a mean", Biometrika 6.

How often is "shown" wrong? Where the true difference is at the claim's border, symmetric about it and independent from seed to seed, the
interval excludes the border on the claim's side with probability 0.025 if the differences are normal, and all n ≥ 5 seeds agree with probability
2⁻ⁿ. At five seeds that is at most 0.025 + 1/32 ≈ 0.056 together (0.036 for normal differences, where the two overlap), at ten seeds 0.026. A claim of
several tests is wrong less often, a page of several claims more often.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Final, Literal

from scipy.special import stdtrit

Verdict = Literal["shown", "leaning", "not shown", "contradicted", "identity"]
Difference = float | None

CONFIDENCE: Final = 0.95
SEEDS_FOR_AN_INTERVAL: Final = 3
SEEDS_THAT_MUST_AGREE: Final = 5
TIE: Final = 1e-9
"""Differences this near to a border are on neither side: counts of rows over numbers of rows are not exact in floating point."""

WEAKEST_FIRST: Final[tuple[Verdict, ...]] = ("contradicted", "not shown", "leaning", "shown")


def paired_differences(ours: Sequence[Difference], theirs: Sequence[Difference]) -> tuple[Difference, ...]:
    """ours − theirs, seed by seed; None where either is undefined. Raises ValueError when there are not as many of both."""
    if len(ours) != len(theirs):
        raise ValueError(f"pairs need as many values on both sides; got {len(ours)} and {len(theirs)}.")
    return tuple(None if a is None or b is None else a - b for a, b in zip(ours, theirs, strict=True))


def mean_of(differences: Sequence[Difference]) -> Difference:
    """Over the defined ones; None where there is none."""
    found = _defined(differences)
    return statistics.fmean(found) if found else None


def t_interval(differences: Sequence[Difference]) -> tuple[float, float] | None:
    """The 95 % interval of the mean: mean ∓ t · s/√n, s with divisor n − 1 and t the 0.975 quantile at n − 1 degrees of freedom.

    Over the defined ones. None below three of them, and where they do not differ from each other: no spread says nothing about the next seed.
    """
    found = _defined(differences)
    if len(found) < SEEDS_FOR_AN_INTERVAL or max(found) - min(found) <= TIE:
        return None
    mean, degrees = statistics.fmean(found), len(found) - 1
    half = float(stdtrit(degrees, (1 + CONFIDENCE) / 2)) * statistics.stdev(found) / math.sqrt(len(found))
    return mean - half, mean + half


def seeds_in_favor(differences: Sequence[Difference], *, above: float = -math.inf, below: float = math.inf) -> int:
    """How many lie between the borders. A tie with a border is not in favor, and neither is a missing pair."""
    return sum(above + TIE < value < below - TIE for value in _defined(differences))


def verdict_of(differences: Sequence[Difference], *, above: float = -math.inf, below: float = math.inf) -> Verdict:
    """The verdict on "the mean difference is greater than `above` and less than `below`", given one difference a seed.

    shown: the 95 % interval lies between the borders, or all of at least five seeds do. contradicted: the interval, or all of at least five seeds,
    lies beyond one border. leaning: the mean lies between the borders, and the interval does not decide. not shown: all else, and whatever the
    numbers say where fewer than half of the seeds have a pair. Never "identity", which no sample can show.
    """
    found, seeds = _defined(differences), len(differences)
    if not found or 2 * len(found) < seeds:
        return "not shown"
    low, high = t_interval(differences) or (-math.inf, math.inf)
    enough = seeds >= SEEDS_THAT_MUST_AGREE  # counts are held against all seeds: a missing pair does not agree with anything
    if (above < low and high < below) or (enough and seeds_in_favor(differences, above=above, below=below) == seeds):
        return "shown"
    if high < above or low > below or (enough and seeds in (seeds_in_favor(found, below=above), seeds_in_favor(found, above=below))):
        return "contradicted"
    return "leaning" if above + TIE < statistics.fmean(found) < below - TIE else "not shown"


def weakest(verdicts: Sequence[Verdict]) -> Verdict:
    """Of several tests. An identity counts as shown beside others; identities alone are an identity. Raises ValueError for no verdict."""
    if not verdicts:
        raise ValueError("a claim needs at least one test.")
    if set(verdicts) == {"identity"}:
        return "identity"
    return min(("shown" if verdict == "identity" else verdict for verdict in verdicts), key=WEAKEST_FIRST.index)


def _defined(differences: Sequence[Difference]) -> list[float]:
    return [value for value in differences if value is not None]
