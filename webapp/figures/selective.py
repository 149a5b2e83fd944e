"""What confidence is worth: risk against coverage, and confidences of right and wrong answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from webapp.figures.figure import Figure, axis_name, figure
from webapp.figures.palette import COLORS, NEUTRAL


@dataclass(frozen=True)
class RiskCoverage:
    """`coverage` is the share of examples answered, most confident first; `risk` the share of those that are wrong."""

    name: str
    coverage: Sequence[float]
    risk: Sequence[float]
    color: str
    dash: str = "solid"


def risk_coverage(models: Sequence[RiskCoverage], *, title: str = "Risk–coverage") -> Figure:
    """Each model's curve. For a single model also the best possible order and a random one, as reference lines."""
    data: list[dict[str, Any]] = []
    for model in models:
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": model.name,
                "x": list(model.coverage),
                "y": list(model.risk),
                "line": {"color": model.color, "dash": model.dash, "width": 2},
                "hovertemplate": "coverage %{x:.1%}, risk %{y:.2%}",
            }
        )
    if models and models[0].risk:
        data += _references(models[0])
    return figure(
        data,
        title=title,
        x="coverage: share answered",
        y=axis_name("share wrong", better="lower"),
        xaxis={"range": [0, 1], "tickformat": ".0%"},
        yaxis={"rangemode": "tozero", "tickformat": ".1%"},
        hovermode="closest",
    )


def _references(model: RiskCoverage) -> list[dict[str, Any]]:
    """A random order errs at the overall rate everywhere; the best one leaves all errors to the end: risk 1 − (1 − r) / coverage past 1 − r."""
    overall = model.risk[-1]
    past = [1 - overall + overall * i / 20 for i in range(21)]
    line = {"color": NEUTRAL, "width": 1.2}
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "random order",
            "x": [0, 1],
            "y": [overall, overall],
            "line": line | {"dash": "dot"},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "lines",
            "name": "best order",
            "x": [0, *past],
            "y": [0, *(1 - (1 - overall) / c if c else overall for c in past)],  # past begins at 0 where all are wrong
            "line": line | {"dash": "dash"},
            "hoverinfo": "skip",
        },
    ]


def confidence_histogram(
    *, edges: Sequence[float], correct: Sequence[int], wrong: Sequence[int], title: str = "Confidence of answers"
) -> Figure:
    """Counts of right and wrong answers by confidence, stacked. `edges` has one more entry than the counts."""
    centers = [(low + high) / 2 for low, high in zip(edges, edges[1:], strict=False)]
    widths = [high - low for low, high in zip(edges, edges[1:], strict=False)]
    bars = [("correct", correct, COLORS[2]), ("wrong", wrong, COLORS[1])]
    data = [
        {
            "type": "bar",
            "name": name,
            "x": centers,
            "y": list(counts),
            "width": widths,
            "marker": {"color": color},
            "hovertemplate": f"{name} near %{{x:.2f}}: %{{y}}",
        }
        for name, counts, color in bars
    ]
    return figure(
        data, title=title, x="confidence", y="examples (log scale)", barmode="stack", xaxis={"range": [0, 1]}, yaxis={"type": "log"}
    )
