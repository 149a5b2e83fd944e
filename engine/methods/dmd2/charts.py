"""The size of the direction by noise level, as a picture."""

from torch import Tensor

from engine.charts import ChartSpec, bars

BINS = 10
NOTE = "Means that fade over a hundred steps. Bins that grow are the sign of a fake that does not keep up."


def direction_by_level(by_level: Tensor, table: Tensor) -> ChartSpec:
    """Bars of mean |g| from its sums and counts by_level (2, BINS), named by the levels of the table (levels,) that begin and end each bin."""
    sums, counts = by_level.tolist()
    means = [total / count if count else None for total, count in zip(sums, counts, strict=True)]
    edges = [table[min(place * len(table) // BINS, len(table) - 1)].item() for place in range(BINS + 1)]
    names = [f"{low:.2g}–{high:.2g}" for low, high in zip(edges, edges[1:], strict=False)]
    return bars("Size of the direction by noise level", names, {"mean |g|": means}, x="noise level σ", y="mean |g|", note=NOTE)
