"""The drawn forms of `engine.charts`: each from its JSON to a figure. A name has one color in all figures of a run."""

from collections.abc import Callable, Mapping
from typing import Any

from webapp.figures.figure import Figure, figure, line_mode
from webapp.figures.palette import COLORS, DASHES, NEUTRAL

REFERENCES = frozenset({"teacher", "data", "baseline", "reference", "start", "before", "real"})
"""What a series is called that others are seen against: it is gray."""
FEW_CELLS = 24
"""Rows and columns of a heat map between whose cells there is a line."""
FEW_POINTS = 20
"""Points of a group that are large enough to be found one by one."""
LEVEL_DASHES = ("dash", "dot", "dashdot", "longdash")


def figure_of(view: Mapping[str, Any], *, color: str) -> Figure | None:
    """The figure of a view; None where its form is not drawn by one, or its parts do not fit together. `color` is the run's."""
    draw = _DRAWN.get(str(view.get("view")))
    try:
        return draw(view, color) if draw is not None else None
    except (KeyError, TypeError, ValueError, AttributeError):  # an artifact is a file: it may hold anything
        return None


def _colors(names: "list[str]", color: str) -> dict[str, str]:
    """The run's color for the first name, others in the palette's order, references gray."""
    rest = iter([one for one in COLORS if one != color] * (1 + len(names) // (len(COLORS) - 1)))
    chosen: dict[str, str] = {}
    for name in names:
        if name in REFERENCES:
            chosen[name] = NEUTRAL
        else:
            chosen[name] = color if color not in chosen.values() else next(rest)
    return chosen


def _lines(view: Mapping[str, Any], color: str) -> Figure:
    colors = _colors(list(view["series"]), color)
    data = [
        {
            "type": "scatter",
            "mode": line_mode(len(series["x"])),
            "name": name,
            "x": list(series["x"]),
            "y": list(series["y"]),
            "line": {
                "color": colors[name],
                "width": 2,
                "dash": "dash" if name in REFERENCES else DASHES[place // len(COLORS) % len(DASHES)],
            },
            "marker": {"size": 5},
            "hovertemplate": "%{y:.4g}",
        }
        for place, (name, series) in enumerate(view["series"].items())
    ]
    ends = [x for series in view["series"].values() for x in series["x"] if x is not None]
    for place, (name, value) in enumerate(view.get("levels", {}).items()):
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": name,
                "x": [min(ends), max(ends)],
                "y": [value, value],
                "line": {"color": NEUTRAL, "dash": LEVEL_DASHES[place % len(LEVEL_DASHES)], "width": 1.5},
                "hovertemplate": "%{y:.4g}",
            }
        )
    axes = {axis: {"type": "log"} for axis, log in (("xaxis", view.get("log_x")), ("yaxis", view.get("log_y"))) if log}
    return figure(data, title=str(view["title"]), x=view["x"], y=view["y"], hovermode="x unified", **axes)


def _bars(view: Mapping[str, Any], color: str) -> Figure:
    colors = _colors(list(view["series"]), color)
    data = [
        {
            "type": "bar",
            "name": name,
            "x": [str(label) for label in view["labels"]],
            "y": list(values),
            "marker": {"color": colors[name]},
            "hovertemplate": "%{x}: %{y:.4g}",
        }
        for name, values in view["series"].items()
    ]
    return figure(data, title=str(view["title"]), x=view["x"], y=view["y"], xaxis={"type": "category"}, barmode="group")


def _histogram(view: Mapping[str, Any], color: str) -> Figure:
    bins = list(zip(view["edges"][:-1], view["edges"][1:], strict=True))
    colors = _colors(list(view["counts"]), color)
    data = [
        {
            "type": "bar",
            "name": name,
            "x": [(low + high) / 2 for low, high in bins],
            "y": [count for _, count in zip(bins, counts, strict=True)],
            "width": [high - low for low, high in bins],
            "customdata": [[low, high] for low, high in bins],
            "marker": {"color": colors[name]},
            "opacity": 1 if len(view["counts"]) == 1 else 0.6,
            "hovertemplate": "%{customdata[0]:.3g} to %{customdata[1]:.3g}: %{y}<extra></extra>",
        }
        for name, counts in view["counts"].items()
    ]
    y = view["y"] + (" (log scale)" if view.get("log_y") else "")
    edges = {"range": [view["edges"][0], view["edges"][-1]]}
    return figure(
        data, title=str(view["title"]), x=view["x"], y=y, xaxis=edges, yaxis={"type": "log"} if view.get("log_y") else {}, barmode="overlay"
    )


def _scatter(view: Mapping[str, Any], color: str) -> Figure:
    colors = _colors(list(view["groups"]), color)
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": list(group["x"]),
            "y": list(group["y"]),
            "marker": {"color": colors[name]} | ({"size": 4, "opacity": 0.6} if len(group["x"]) > FEW_POINTS else {"size": 9}),
            "hovertemplate": "%{x:.3g}, %{y:.3g}",
        }
        for name, group in view["groups"].items()
    ]
    square = {"scaleanchor": "x"} if view.get("square") else {}
    return figure(data, title=str(view["title"]), x=view["x"], y=view["y"], yaxis=square)


def _heatmap(view: Mapping[str, Any], color: str) -> Figure:
    # Without any gap Plotly draws with a style attribute, which the page's policy refuses.
    gap = 1 if max(len(view["columns"]), len(view["rows"])) <= FEW_CELLS else 0.01
    cells = {
        "type": "heatmap",
        "x": [str(one) for one in view["columns"]],
        "y": [str(one) for one in view["rows"]],
        "z": [list(row) for row in view["values"]],
        "colorscale": "Viridis",
        "xgap": gap,
        "ygap": gap,
        "hovertemplate": "%{y}, %{x}: %{z:.4g}<extra></extra>",
    }
    return figure([cells], title=str(view["title"]), x=view["x"], y=view["y"], xaxis={"type": "category"}, yaxis={"type": "category"})


_DRAWN: dict[str, Callable[[Mapping[str, Any], str], Figure]] = {
    "lines": _lines,
    "bars": _bars,
    "histogram": _histogram,
    "scatter": _scatter,
    "heatmap": _heatmap,
}
