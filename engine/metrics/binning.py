"""Cutting confidences into bins: the usual source of disagreement between calibration numbers, so each convention is here once.

All return the bin's number for each value. The edges are those of `linspace` in float64: with ten bins a stated confidence of 0.3 falls into
bin 2, because the third edge is 0.30000000000000004. netcal does the same, so it is not "fixed" here. torchmetrics cuts at the same places
with two differences: its edges are float32, where a stated 0.3 falls into bin 3, and a confidence of exactly 1 gets a bin of its own behind
the last one, so that its calibration error differs from ours as soon as a model is certain of a row.
"""

from typing import Literal

import numpy as np

from engine.metrics.arrays import FloatArray, IntArray

Closed = Literal["left", "right"]


def equal_width(values: FloatArray, n_bins: int, closed: Closed = "left") -> IntArray:
    """Bins of width 1/n_bins on [0, 1]; values of any shape, each in [0, 1] → bin numbers of that shape.

    "left": bin m is [e_m, e_{m+1}), the last one closed at 1 (netcal, CaOPD). "right": (e_m, e_{m+1}], and 0 goes to bin 0 (Guo et al. 2017,
    scikit-learn's calibration_curve).
    """
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    side: Closed = "right" if closed == "left" else "left"
    found = np.searchsorted(edges, values, side=side) - 1
    return np.clip(found, 0, n_bins - 1)


def equal_mass(values: FloatArray, n_bins: int) -> IntArray:
    """n_bins consecutive groups of the ascending order, with `array_split`'s sizes: the first (rows mod n_bins) have one more.

    values (rows,) → group numbers (rows,). Equal values may be split between groups; the stable sort makes it deterministic. With fewer
    rows than bins the last groups stay empty.
    """
    rows = len(values)
    sizes = np.full(n_bins, rows // n_bins)
    sizes[: rows % n_bins] += 1
    groups = np.empty(rows, dtype=np.int64)
    groups[np.argsort(values, kind="stable")] = np.repeat(np.arange(n_bins), sizes)
    return groups


def adaptive(confidence: FloatArray, n_bins: int) -> IntArray:
    """AdaECE's bins (e_m, e_{m+1}] between quantiles of the confidences (Mukhoti et al. 2020); confidence (rows,) → bin numbers (rows,).

    The smallest confidence equals the first edge and is in no bin, −1. That is the published code's behavior and kept on purpose.
    """
    rows = len(confidence)
    edges = np.interp(np.linspace(0, rows, n_bins + 1), np.arange(rows), np.sort(confidence))
    return np.searchsorted(edges, confidence, side="left") - 1
