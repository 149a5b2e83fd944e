"""What a network thinks of its own training labels: how probable it finds them, and which it believes least."""

from collections.abc import Callable

import torch
from torch import Tensor

from engine import charts

HISTOGRAM_BINS = 20
SUSPECTS = 50


def own_label_probabilities(predictions: Tensor, labels: Tensor) -> Tensor:
    """A[i, y_i] of predictions A (rows, classes) and labels (rows,) → (rows,)."""
    return predictions.gather(1, labels[:, None]).squeeze(1)


def histogram_of(own: Tensor) -> charts.ChartSpec:
    """How many rows' own labels (rows,) are how probable."""
    return charts.histogram(
        "Probability of the row's own label",
        torch.linspace(0, 1, HISTOGRAM_BINS + 1).tolist(),
        {"rows": own.float().cpu().histc(HISTOGRAM_BINS, 0, 1).int().tolist()},
        x="probability",
        y="training rows",
        log_y=True,
        note=f"train, n = {len(own):,}",
    )


def likely_label_errors(predictions: Tensor, labels: Tensor, example: Callable[[int], str | None]) -> charts.ChartSpec:
    """The rows whose label the network finds least probable, least first. `example` shows a row as a picture's address or as text."""
    own = own_label_probabilities(predictions, labels)
    rows = [
        [i, example(i), int(labels[i]), int(predictions[i].argmax()), float(own[i])] for i in own.argsort(stable=True)[:SUSPECTS].tolist()
    ]
    columns = ["row", "example", "label", "prediction", "label's probability"]
    return charts.rows("Likely label errors", columns, rows, note=f"train, n = {len(labels):,}")
