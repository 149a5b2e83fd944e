"""Reliability diagrams: how often a model is right, against how sure it is, with the count of examples beneath."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from webapp.figures.figure import Figure
from webapp.figures.palette import NEUTRAL, translucent

FEW = 10
"""A bin with fewer examples says little about its accuracy: its marker is hollow."""


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
    """One model's bins under its name and color."""

    name: str
    bins: Sequence[Bin]
    color: str
    dash: str = "solid"
    muted: bool = False


def reliability_diagram(models: Sequence[Reliability], *, title: str = "Reliability") -> Figure:
    """Curves through the bins' (mean confidence, accuracy), the diagonal of perfect calibration, and the share of examples in each bin.

    Markers grow with their bin's share; those of bins with fewer than FEW examples are hollow.
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
        data += [_curve(model), _counts(model)]
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


def _curve(model: Reliability) -> dict[str, Any]:
    filled = [b for b in model.bins if b.count and b.confidence is not None and b.accuracy is not None]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": model.name,
        "legendgroup": model.name,
        "cliponaxis": False,
        "x": [b.confidence for b in filled],
        "y": [b.accuracy for b in filled],
        "customdata": [[b.low, b.high, b.count] for b in filled],
        "line": {"color": translucent(model.color, 0.6), "dash": model.dash, "width": 1.5},
        "marker": {
            "color": model.color,
            "opacity": 1,
            "line": {"width": 1, "color": model.color},
            "size": _sizes(filled),
            "symbol": ["circle" if b.count >= FEW else "circle-open" for b in filled],
        },
        "opacity": 0.6 if model.muted else 1,
        "hovertemplate": "confidence %{x:.3f}, accuracy %{y:.3f}<br>bin %{customdata[0]:.3f}–%{customdata[1]:.3f}: n = %{customdata[2]}",
    }


def _sizes(bins: Sequence[Bin]) -> list[float]:
    """The area of a marker grows with its bin's share, so that the eye weighs bins as the calibration error does."""
    most = max((b.count for b in bins), default=1)
    return [round(5 + 9 * (b.count / most) ** 0.5, 1) for b in bins]


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
