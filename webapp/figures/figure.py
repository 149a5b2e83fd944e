"""What all figures share: a figure is a plain dict in Plotly's own JSON form, `{"data": [...], "layout": {...}}`.

Nothing here imports plotly: a web process would pay a second for it, and a dict is what the browser needs. Tests put every figure through
`plotly.graph_objects`, which refuses an unknown property. Colors of text, grid and ground are not set: the page's theme sets them.
"""

from typing import Any, Literal

Figure = dict[str, Any]
Better = Literal["higher", "lower"] | None

MOST_MARKED = 60
"""Points of a line that are marked one by one; of more the line alone is drawn."""

ARROW = {"higher": " ↑ higher is better", "lower": " ↓ lower is better", None: ""}


def figure(data: list[dict[str, Any]], *, title: str, x: str, y: str, **layout: Any) -> Figure:
    """A figure with its title and the names of both axes. Further layout is merged into the axes (`xaxis`, `yaxis`) or added."""
    xaxis = {"title": {"text": x}} | layout.pop("xaxis", {})
    yaxis = {"title": {"text": y}} | layout.pop("yaxis", {})
    return {"data": data, "layout": {"title": {"text": title}, "xaxis": xaxis, "yaxis": yaxis, **layout}}


def line_mode(points: int) -> str:
    """How Plotly draws a line of so many points: a line with few has markers, so that a single one is visible."""
    return "lines+markers" if points <= MOST_MARKED else "lines"


def axis_name(title: str, *, unit: str = "", better: Better = None) -> str:
    """`NLL (nats) ↓ lower is better`."""
    return f"{title}{f' ({unit})' if unit else ''}{ARROW[better]}"
