"""Reliability diagrams: how often a model is right, against how sure it is, with the share of examples beneath.

Points and their intervals, never joined: a line between bins says something of confidences that nobody measured, and ten lines are a tangle.
Source of the intervals: Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from webapp.figures.figure import Figure
from webapp.figures.palette import DASHES, NEUTRAL, translucent

FEW = 10
"""A bin with fewer examples says little about its accuracy: it is faded."""

Z = 1.959964
"""The 0.975 quantile of the normal distribution."""

SYMBOLS = dict(zip(DASHES, ("circle", "square", "diamond", "cross", "x", "triangle-up"), strict=True))
"""What tells those of one color apart, as their dashes do where lines are drawn."""


@dataclass(frozen=True)
class Bin:
    """Examples whose confidence lies in one interval. `confidence` and `accuracy` are means, None where the bin is empty."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Reliability:
    """One model's bins under its name and color. Where `seeds` models were pooled the bins hold each row so many times; an interval counts it once."""

    name: str
    bins: Sequence[Bin]
    color: str
    dash: str = "solid"
    muted: bool = False
    seeds: int = 1


def reliability_diagram(models: Sequence[Reliability], *, title: str = "Reliability") -> Figure:
    """The bins' (mean confidence, accuracy) with the 95 % interval of the accuracy, the diagonal of perfect calibration, and the share of examples
    in each bin.

    Markers grow with their bin's share; those of bins with fewer than FEW examples are faded, and hollow.
    """
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [0, 1],
            "y": [0, 1],
            "name": "perfectly calibrated",
            "line": {"color": NEUTRAL, "dash": "dot", "width": 1.5},
            "hoverinfo": "skip",
        }
    ]
    for model in models:
        points = [trace for few in (False, True) if (trace := _points(model, few=few))["x"]]
        data += [trace | {"showlegend": trace is points[0]} for trace in points] + [_counts(model)]
    return {
        "data": data,
        "layout": {
            "title": {"text": title},
            "xaxis": {"title": {"text": "confidence"}, "range": [0, 1], "anchor": "y2", "domain": [0, 1]},
            "yaxis": {"title": {"text": "accuracy"}, "range": [0, 1.02], "domain": [0.3, 1]},
            "yaxis2": {
                "title": {"text": "share"},
                "domain": [0, 0.2],
                "anchor": "x",
                "tickformat": ".0%",
                "nticks": 3,
                "rangemode": "tozero",
            },
            "barmode": "overlay",
            "hovermode": "closest",
        },
    }


def wilson(share: float, n: float) -> tuple[float, float]:
    """The 95 % interval of a proportion of `n` > 0 examples."""
    center, width = share + Z**2 / (2 * n), Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    low, high = (center - width) / (1 + Z**2 / n), (center + width) / (1 + Z**2 / n)
    return min(low, share), max(high, share)  # at 0 and 1 the last bit is lost


def _points(model: Reliability, *, few: bool) -> dict[str, Any]:
    filled = [b for b in model.bins if b.count and b.confidence is not None and b.accuracy is not None]
    most = max((b.count for b in filled), default=1)
    shown = [(b, b.accuracy) for b in filled if b.accuracy is not None and (b.count < FEW * model.seeds) == few]
    intervals = [wilson(accuracy, b.count / model.seeds) for b, accuracy in shown]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": model.name,
        "legendgroup": model.name,
        "cliponaxis": False,
        "x": [b.confidence for b, _ in shown],
        "y": [accuracy for _, accuracy in shown],
        "error_y": {
            "type": "data",
            "array": [high - accuracy for (_, accuracy), (_, high) in zip(shown, intervals, strict=True)],
            "arrayminus": [accuracy - low for (_, accuracy), (low, _) in zip(shown, intervals, strict=True)],
            "color": translucent(model.color, 0.55),
            "thickness": 1.2,
            "width": 0,
        },
        "customdata": [[b.low, b.high, b.count, low, high] for (b, _), (low, high) in zip(shown, intervals, strict=True)],
        "marker": {
            "color": model.color,
            "line": {"width": 1, "color": model.color},
            "size": [_size(b.count / most) for b, _ in shown],
            "symbol": SYMBOLS[model.dash] + ("-open" if few else ""),
        },
        "opacity": (0.3 if few else 1) * (0.6 if model.muted else 1),
        "hovertemplate": "confidence %{x:.3f}, accuracy %{y:.3f} (95 % %{customdata[3]:.3f}–%{customdata[4]:.3f})"
        "<br>bin %{customdata[0]:.3f}–%{customdata[1]:.3f}: n = %{customdata[2]}",
    }


def _size(share: float) -> float:
    """The area of a marker grows with its bin's share of the fullest, so that the eye weighs bins as the calibration error does."""
    return round(5 + 9 * math.sqrt(share), 1)


def _counts(model: Reliability) -> dict[str, Any]:
    total = sum(b.count for b in model.bins)
    return {
        "type": "bar",
        "name": model.name,
        "legendgroup": model.name,
        "showlegend": False,
        "x": [(b.low + b.high) / 2 for b in model.bins],
        "y": [b.count / total if total else 0 for b in model.bins],
        "customdata": [b.count for b in model.bins],
        "width": [b.high - b.low for b in model.bins],
        "yaxis": "y2",
        "marker": {"color": translucent(model.color, 0.35), "line": {"color": model.color, "width": 1}},
        "hovertemplate": "n = %{customdata} (%{y:.1%})",
    }
