"""What quality costs: a metric against parameters or latency, with the runs that no other beats in both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from webapp.figures.figure import Better, Figure, axis_name, figure
from webapp.figures.palette import NEUTRAL


@dataclass(frozen=True)
class Candidate:
    """One run or seed group: what it costs (smaller is better) and how good it is. `spread` is a standard deviation, if known."""

    name: str
    cost: float
    quality: float
    color: str
    spread: float | None = None
    baseline: bool = False


def front(candidates: Sequence[Candidate], *, better: Better = "higher") -> list[Candidate]:
    """Those that no other beats in cost and quality, by rising cost. Of equal cost the best stays."""
    sign = -1 if better == "lower" else 1
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.cost, -sign * c.quality)):
        if not kept or sign * candidate.quality > sign * kept[-1].quality:
            kept.append(candidate)
    return kept


def pareto(candidates: Sequence[Candidate], *, cost: str, cost_unit: str = "", quality: str, better: Better = "higher") -> Figure:
    """Every candidate as a point, the best trade-offs joined by a line, the baseline as a hollow diamond."""
    best = front(candidates, better=better)
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "best trade-offs",
            "x": [c.cost for c in best],
            "y": [c.quality for c in best],
            "line": {"color": NEUTRAL, "width": 1.5, "dash": "dot", "shape": "hv"},
            "hoverinfo": "skip",
        }
    ]
    data += [_point(candidate) for candidate in candidates]
    return figure(
        data,
        title=f"{quality} against {cost}",
        x=axis_name(cost, unit=cost_unit, better="lower"),
        y=axis_name(quality, better=better),
        xaxis={"type": "log"},
        hovermode="closest",
    )


def _point(candidate: Candidate) -> dict[str, Any]:
    point: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "name": candidate.name + (" (baseline)" if candidate.baseline else ""),
        "x": [candidate.cost],
        "y": [candidate.quality],
        "marker": {
            "color": candidate.color,
            "size": 12,
            "symbol": "diamond-open" if candidate.baseline else "circle",
            "line": {"width": 2, "color": candidate.color},
        },
        "hovertemplate": "%{x:,.4~g} → %{y:.4f}",
    }
    if candidate.spread is not None:
        point["error_y"] = {"type": "data", "array": [candidate.spread], "color": candidate.color, "thickness": 1.5}
    return point
