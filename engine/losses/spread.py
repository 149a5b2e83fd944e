"""How far apart the logits of a row are."""

from torch import Tensor

from engine.losses.precision import full_precision


def mean_logit_std(logits: Tensor) -> float:
    """Mean over the rows of the standard deviation (divisor classes − 1) over the classes. Logits (rows, classes)."""
    return float(full_precision(logits).std(dim=-1).mean())
