"""How far the experts' two gradients point the same way, as a chart."""

from collections.abc import Sequence

from torch import Tensor

from engine import charts

SHOWN = 8


def cosines(measured: Tensor, seeds: Sequence[int]) -> charts.ChartSpec:
    """Cosine of gradient and perturbed gradient by epoch, measured (experts, epochs): a curve for each of the first experts."""
    epochs = list(range(1, measured.shape[1] + 1))
    series = {f"seed {seed}": (epochs, measured[at].tolist()) for at, seed in enumerate(seeds[:SHOWN])}
    return charts.lines(
        "Gradient against perturbed gradient",
        series,
        x="expert epoch",
        y="cosine",
        note="Mean over the epoch's batches; low is too large a radius.",
    )
