"""What a method says of itself beyond curves: how a value is spread, and values per class beside each other."""

from collections.abc import Mapping, Sequence
from typing import Any

from webapp.figures.figure import Figure, figure
from webapp.figures.palette import NEUTRAL

GAP = 0.14
"""Share of the height between two panels."""


def histogram(*, edges: Sequence[float], counts: Sequence[int], title: str, x: str, color: str) -> Figure:
    """Counts between neighboring edges, one more of these than counts, on a logarithmic scale: a few far from the rest are what one looks for."""
    bins = list(zip(edges[:-1], edges[1:], strict=True))
    bars = {
        "type": "bar",
        "name": x,
        "x": [(low + high) / 2 for low, high in bins],
        "y": list(counts),
        "width": [high - low for low, high in bins],
        "customdata": [[low, high] for low, high in bins],
        "marker": {"color": color},
        "hovertemplate": "%{customdata[0]:.3g} to %{customdata[1]:.3g}: %{y}<extra></extra>",
    }
    return figure([bars], title=title, x=x, y="examples (log scale)", xaxis={"range": [edges[0], edges[-1]]}, yaxis={"type": "log"})


def paired_bars(panels: Mapping[str, Mapping[str, Sequence[float]]], *, title: str, x: str, color: str) -> Figure:
    """Panels above each other over the same x, 0, 1, …; in each a bar for each name. Each has its own scale: they may differ widely.

    A name has one color in all panels: the first one the given color, others neutral ones.
    """
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    height = (1 - GAP * (len(panels) - 1)) / len(panels)
    data: list[dict[str, Any]] = []
    axes: dict[str, dict[str, Any]] = {}
    for place, (panel, values) in enumerate(panels.items()):
        axis = "" if place == 0 else str(place + 1)
        top = 1 - place * (height + GAP)
        axes[f"yaxis{axis}"] = {"title": {"text": panel}, "domain": [round(max(0.0, top - height), 4), round(top, 4)]}
        shown = {name for trace in data for name in [trace["name"]]}
        data += [
            {
                "type": "bar",
                "name": name,
                "legendgroup": name,
                "showlegend": name not in shown,
                "x": [str(index) for index in range(len(series))],
                "y": list(series),
                "yaxis": f"y{axis}",
                "marker": {"color": color if names.index(name) == 0 else NEUTRAL},
                "hovertemplate": f"{x} %{{x}}, {panel}: %{{y:.3f}}",
            }
            for name, series in values.items()
        ]
    last = "y" if len(panels) == 1 else f"y{len(panels)}"
    first = axes.pop("yaxis")
    return figure(
        data,
        title=title,
        x=x,
        y=first["title"]["text"],
        xaxis={"type": "category", "anchor": last},
        yaxis={"domain": first["domain"]},
        barmode="group",
        **axes,
    )
