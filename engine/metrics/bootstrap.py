"""How far a number could have been from itself on other rows: percentile intervals from resampled rows.

Every call with the same N draws the same rows (`default_rng(0)`), so the intervals of two runs on one split are paired, and so is a
difference computed inside the statistic. ECE is biased upward for few rows, and its interval with it; N belongs beside both.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from engine.metrics import binning
from engine.metrics.arrays import FloatArray, IntArray, Rows, confidence_of, correct_of
from engine.metrics.binning import Closed

RESAMPLES = 1000
# Rows drawn at once: bounds memory to some 30 MB whatever N is.
DRAWN_AT_ONCE = 2_000_000


class Interval(NamedTuple):
    """The 2.5th and the 97.5th percentile of the resampled statistic."""

    low: float
    high: float


def interval(statistic: Callable[[IntArray], FloatArray], n: int, *, resamples: int = RESAMPLES) -> Interval:
    """Percentile interval of a statistic over `n` rows, each resample being n rows with replacement.

    `statistic` gets row numbers (resamples, n) and returns (resamples,). For the mean of `values`: `lambda rows: values[rows].mean(axis=1)`;
    for a paired difference of two runs, subtract inside. Raises ValueError for n or resamples below 1.
    """
    if n < 1 or resamples < 1:
        raise ValueError(f"an interval needs at least one row and one resample; got {n} and {resamples}.")
    values = np.concatenate([statistic(rows) for rows in resampled_rows(n, resamples)])
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(low), float(high))


def ece_interval(confidence: Rows, correct: Rows, *, n_bins: int = 15, closed: Closed = "left", resamples: int = RESAMPLES) -> Interval:
    """Interval of the equal-width ECE of confidence (N,) in [0, 1] and correctness (N,) in {0, 1}."""
    c = confidence_of(confidence)
    return interval(ece_of_rows(c, correct_of(correct, rows=len(c)), n_bins=n_bins, closed=closed), len(c), resamples=resamples)


def ece_of_rows(
    confidence: FloatArray, correct: FloatArray, *, n_bins: int = 15, closed: Closed = "left"
) -> Callable[[IntArray], FloatArray]:
    """The ECE as a statistic for `interval`: row numbers (resamples, n) → (resamples,). A row keeps its bin in every resample."""
    groups = binning.equal_width(confidence, n_bins, closed)
    surplus = correct - confidence

    def statistic(rows: IntArray) -> FloatArray:
        count, n = rows.shape
        cells = groups[rows] + n_bins * np.arange(count)[:, None]
        gaps = np.bincount(cells.ravel(), weights=surplus[rows].ravel(), minlength=n_bins * count)
        errors: FloatArray = np.abs(gaps.reshape(count, n_bins)).sum(axis=1) / n
        return errors

    return statistic


def resampled_rows(n: int, resamples: int = RESAMPLES) -> Iterator[IntArray]:
    """The row numbers of all resamples in turn, some (k, n) at a time; the same ones for the same n in every process."""
    generator = np.random.default_rng(0)
    chunk = max(1, DRAWN_AT_ONCE // n)
    for start in range(0, resamples, chunk):
        yield generator.integers(0, n, size=(min(chunk, resamples - start), n))
