"""The table of sources and their weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine import charts
from engine.methods.distill_similar.selection import MEASURES

TITLES = {"parc": "PARC", "rsa": "RSA", "knn": "k-NN", "leep": "LEEP", "nce": "NCE", "h-score": "H-score"}


@dataclass(frozen=True)
class SourceRow:
    """One source as the table shows it. `spread` is the mean entropy of its outputs on the target's rows, as a share of log(classes)."""

    rank: int
    weight: float
    scores: Mapping[str, float | None]
    interval: tuple[float, float] | None
    classes: int
    spread: float
    parameters: int


def similarity(sources: Sequence[SourceRow], chosen: str) -> charts.ChartSpec:
    """A row for each source, in the order of the run's teachers."""
    measures, ranked = [TITLES[name] for name in MEASURES], TITLES[chosen]
    columns = ["source", "rank", "weight", f"{ranked}, low", f"{ranked}, high", *measures, "classes", "entropy of outputs", "parameters"]
    cells = [
        [
            f"source {index + 1}",
            each.rank,
            _short(each.weight),
            *(_short(end) for end in each.interval or (None, None)),
            *(_short(each.scores[name]) for name in MEASURES),
            each.classes,
            _short(each.spread),
            each.parameters,
        ]
        for index, each in enumerate(sources)
    ]
    note = f"Ranked by {ranked}; low and high are its 95 % interval over the labeled rows. Entropy as a share of log(classes): near 1 says nothing."
    return charts.rows("Similarity to the target task", columns, cells, note=note)


def weights(alpha: Sequence[float]) -> charts.ChartSpec:
    """α_s as bars."""
    labels = [f"source {index + 1}" for index in range(len(alpha))]
    return charts.bars("Weights of the sources", labels, {"α": list(alpha)}, x="source", y="weight, 0 to 1")


def cost(student: int, sources: Sequence[int]) -> charts.ChartSpec:
    """Parameters of the student, without its auxiliary heads, beside the sources'."""
    labels = ["student", *(f"source {index + 1}" for index in range(len(sources)))]
    return charts.bars(
        "Size", labels, {"parameters": [student, *sources]}, x="model", y="parameters", note="Auxiliary heads are not counted."
    )


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
