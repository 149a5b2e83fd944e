"""A run's curves as the panels of its page: which series share a chart, and each chart's figure."""

from typing import Any

from engine.metrics.cards import METRICS
from webapp.figures.curves import CurvePanel, Line, drawable, opened, panels_of, term_color, training_curves
from webapp.figures.palette import color_of
from webapp.runs.history import curves
from webapp.runs.history.headline import headline_of
from webapp.runs.models import Run


def panels_for(run: Run, *, width: int, baseline: Run | None = None) -> tuple[str, list[dict[str, Any]]]:
    """The cursor, and a JSON-safe dict for each panel. `width`: the most points of one curve. The caller has asked for the permission."""
    history = curves.history(run, points=width)
    beneath = curves.history(baseline, points=width) if baseline is not None else None
    headline = [name for name in headline_of(run.spec) if f"validation/{name}" in history.series]
    panels = panels_of(list(history.series), METRICS, shown=opened(headline))
    return history.cursor, [_panel(panel, history, beneath, run=run, baseline=baseline) for panel in panels]


def _panel(panel: CurvePanel, history: curves.History, beneath: curves.History | None, *, run: Run, baseline: Run | None) -> dict[str, Any]:
    lines = [_line(name, history.series[name], color=_color(panel, index, run), run=run) for index, name in enumerate(panel.series)]
    if beneath is not None and baseline is not None:
        shared = [name for name in panel.series if name in beneath.series]
        lines += [_line(name, beneath.series[name], color="", run=baseline, reference=True) for name in shared]
    figure = training_curves(lines, title=panel.title, y=panel.y)
    return {"id": panel.id, "shown": panel.shown, "better": panel.better, "figure": figure}


def _line(name: str, curve: curves.Curve, *, color: str, run: Run, reference: bool = False) -> Line:
    label = f"{name} (baseline)" if reference else name
    return Line(label, curve.steps.tolist(), drawable(curve.values), color, reference=reference, series=name, run=str(run.pk))


def _color(panel: CurvePanel, index: int, run: Run) -> str:
    """A curve alone in its panel has the run's color; several of one run are told apart by their place."""
    return color_of(run.number) if len(panel.series) == 1 else term_color(index)
