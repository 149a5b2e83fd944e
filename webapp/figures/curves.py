"""Training curves: loss terms together, each validation metric in a panel of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.spec.cards import MetricCard
from webapp.figures.figure import MOST_MARKED, Better, Figure, axis_name, figure, line_mode
from webapp.figures.palette import COLORS, NEUTRAL

LONGEST_BESIDE = 22
MOST_OPEN = 4
"""Panels that are open at once, the loss among them; others are a click away."""


@dataclass(frozen=True)
class Line:
    """One series of one run. Steps rise; a value is None where there is a gap. `reference` draws it gray and dashed: a baseline."""

    name: str
    steps: Sequence[int]
    values: Sequence[float | None]
    color: str
    dash: str = "solid"
    reference: bool = False
    series: str = ""
    run: str = ""


@dataclass
class CurvePanel:
    """Series that share an axis."""

    id: str
    title: str
    y: str
    better: Better = None
    series: list[str] = field(default_factory=list)
    shown: bool = False


def opened(headline: Sequence[str]) -> tuple[str, ...]:
    """The panels that are open at once: the loss, and the metrics that a student of this kind is judged by first."""
    return ("loss", *(f"validation/{name}" for name in headline))[:MOST_OPEN]


def panels_of(names: Sequence[str], metrics: Mapping[str, MetricCard], *, shown: Sequence[str]) -> list[CurvePanel]:
    """Which series belong together: `loss` and all `loss/…`; a validation metric alone; else those with the same text before the slash.

    Panels that are `shown` at once come first, in that order; then the rest by name.
    """
    panels: dict[str, CurvePanel] = {}
    for name in sorted(names):
        before, _, after = name.partition("/")
        if before == "validation":
            card = metrics.get(after)
            title = card.title if card else after.replace("_", " ")
            panel = CurvePanel(
                name,
                f"Validation: {title}",
                _axis_name(title, card),
                card.better if card else None,
            )
        elif before == "loss":
            panel = CurvePanel("loss", "Loss terms", axis_name("loss", better="lower"), "lower")
        else:
            panel = CurvePanel(before, before.replace("_", " ").capitalize(), before.replace("_", " "))
        panels.setdefault(panel.id, panel).series.append(name)
    order = {panel_id: place for place, panel_id in enumerate(shown)}
    for panel in panels.values():
        panel.shown = panel.id in order
    return sorted(panels.values(), key=lambda p: (order.get(p.id, len(order)), p.id))


def _axis_name(title: str, card: MetricCard | None) -> str:
    """A long name stands above the panel alone: beside a small panel it would run over."""
    unit, better = (card.unit, card.better) if card else ("", None)
    if len(title) <= LONGEST_BESIDE:
        return axis_name(title, unit=unit, better=better)
    return axis_name(unit or "value", better=better)


def drawable(values: NDArray[np.float64]) -> list[float | None]:
    """Values (n,) for a chart, as JSON takes them: six significant digits, which is more than a screen shows, and None for what is not finite."""
    finite = np.isfinite(values)
    magnitude = np.floor(np.log10(np.abs(values), out=np.zeros_like(values), where=finite & (values != 0)))
    scale = 10.0 ** (5 - np.clip(magnitude, -290, 290))
    rounded = np.where(finite, np.round(values * scale) / scale, 0.0)
    return [value if there else None for value, there in zip(rounded.tolist(), finite.tolist(), strict=True)]


def term_color(index: int) -> str:
    """Loss terms of one run are told apart by place, not by run: the whole takes the first color, its terms the next."""
    return COLORS[index % len(COLORS)]


def training_curves(lines: Sequence[Line], *, title: str, y: str) -> Figure:
    """Lines over optimizer steps, from 0. A line with few points has markers, so that a single one is visible."""
    data = [_trace(line) for line in lines]
    return figure(data, title=title, x="optimizer step", y=y, xaxis={"rangemode": "tozero"}, hovermode="x unified")


def _trace(line: Line) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": line_mode(len(line.steps)),
        "name": line.name,
        "x": list(line.steps),
        "y": list(line.values),
        "line": {
            "color": NEUTRAL if line.reference else line.color,
            "dash": "dash" if line.reference else line.dash,
            "width": 1.5 if line.reference else 2,
        },
        "marker": {"size": 5},
        # A live page adds points, and takes the markers away where there are more than so many.
        "meta": {"series": line.series or line.name, "run": line.run, "reference": line.reference, "most_marked": MOST_MARKED},
        "hovertemplate": "%{y:.5~g}",
    }
