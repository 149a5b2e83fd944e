"""Temperature scaling: the post-hoc reference that says how much of a calibration error is only a wrong scale (Guo et al. 2017).

The calibration temperature has nothing to do with the temperature of a distillation loss.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

from engine.metrics.arrays import FloatArray, IntArray, Rows, labels_of, logits_of

LOWEST, HIGHEST = -3.0, 4.0


@dataclass(frozen=True)
class ScaledTemperature:
    """The temperature T* that logits are divided by. At a bound of the search it is no estimate, and `number` is None.

    "lower": the split is perfectly separable, the colder the better. "upper": the labels have nothing to do with the logits, the hotter the
    better.
    """

    value: float
    at_bound: Literal["lower", "upper"] | None = None

    @property
    def number(self) -> float | None:
        """T* to show and to compare, or None at a bound."""
        return None if self.at_bound else self.value

    def __str__(self) -> str:
        return {"lower": f"≤ {self.value:.3f}", "upper": f"≥ {self.value:.1f}", None: f"{self.value:.4f}"}[self.at_bound]


def fit_temperature(logits: Rows, labels: Rows) -> ScaledTemperature:
    """T* = argmin NLL(logits / T, labels) with log T in [−3, 4], to 1e-6; logits (rows, classes), labels (rows,), of a held-out split.

    The NLL is convex in 1/T, so its derivative changes sign at most once, and its signs at the bounds show whether the minimum lies outside.
    Logits that are constant in each row fit every temperature alike and give 1.
    """
    scores = logits_of(logits)
    targets = labels_of(labels, rows=len(scores), classes=scores.shape[1])
    # Shifted so that a separable split has a derivative of exactly 0 or below, whatever the softmax rounds to.
    shifted = scores - scores.max(axis=1, keepdims=True)

    if not shifted.any():
        return ScaledTemperature(1.0)
    if _slope(LOWEST, shifted, targets) >= 0:
        return ScaledTemperature(math.exp(LOWEST), "lower")
    if _slope(HIGHEST, shifted, targets) <= 0:
        return ScaledTemperature(math.exp(HIGHEST), "upper")
    return ScaledTemperature(math.exp(brentq(_slope, LOWEST, HIGHEST, args=(shifted, targets), xtol=1e-7)))


def _slope(log_t: float, shifted: FloatArray, targets: IntArray) -> float:
    """d NLL / d log T = −(1/T) · mean(E_p[z] − z_y), with p = softmax(z / T)."""
    p = softmax(shifted / math.exp(log_t), axis=1)
    expected = (p * shifted).sum(axis=1)
    of_label = shifted[np.arange(len(targets)), targets]
    return float(-(expected - of_label).mean() / math.exp(log_t))
