"""What confidence is good for: separating right answers from wrong ones, and answering only where it is high."""

import math

import numpy as np

from engine.metrics.arrays import FloatArray


def ranking(confidence: FloatArray, correct: FloatArray) -> tuple[float | None, float]:
    """AUROC and SPR of confidence (N,) for correctness (N,), over all pairs of a right and a wrong row.

    AUROC is P(c⁺ > c⁻) + ½ P(c⁺ = c⁻), None when all rows are right or all are wrong. SPR is P(c⁺ > c⁻) alone, then 0 (CaOPD's convention).
    """
    right, wrong = confidence[correct == 1], np.sort(confidence[correct == 0])
    pairs = len(right) * len(wrong)
    if pairs == 0:
        return None, 0.0
    above = int(np.searchsorted(wrong, right, side="left").sum())
    above_or_equal = int(np.searchsorted(wrong, right, side="right").sum())
    return (above + above_or_equal) / (2 * pairs), above / pairs


def risk_coverage(confidence: FloatArray, correct: FloatArray) -> tuple[FloatArray, FloatArray]:
    """coverage (N,) = i/N and risk (N,) = share of errors among the i most confident rows, i from 1 to N.

    Inside a group of equal confidence the cumulative errors are interpolated linearly, so the curve does not depend on the rows' order.
    """
    rows = len(confidence)
    _, group, size = np.unique(-confidence, return_inverse=True, return_counts=True)
    errors_of_group = np.bincount(group, weights=1 - correct)
    answered = np.arange(1, rows + 1)
    errors = np.interp(answered, np.r_[0, size.cumsum()], np.r_[0, errors_of_group.cumsum()])
    return answered / rows, errors / answered


def excess_aurc(risk: FloatArray, *, errors: int) -> float:
    """E-AURC: mean of the risks (N,) less that of the best possible order, in which the errors come last. At least 0, ties or not."""
    answered = np.arange(1, len(risk) + 1)
    best = np.maximum(0, answered - (len(risk) - errors)) / answered
    # Each risk is at least the best one; only rounding can say otherwise.
    return float(np.maximum(risk - best, 0.0).mean())


def accuracy_at(risk: FloatArray, coverage: float) -> float:
    """1 − risk of the ⌈coverage · N⌉ most confident rows, 0 < coverage ≤ 1."""
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage must be greater than 0 and at most 1; got {coverage}.")
    # 0.9 · 30 must not be rounded up to 28 because of its last bit.
    answered = math.ceil(coverage * len(risk) - 1e-9)
    return float(1 - risk[max(answered, 1) - 1])
