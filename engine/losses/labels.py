"""Cross-entropy with labels, some of which may be missing."""

import torch.nn.functional as F
from torch import Tensor

from engine.losses.precision import full_precision

NO_LABEL = -100


def label_cross_entropy(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Mean over the labeled rows of −Σ_c t_c log softmax(z)_c, in nats.

    logits (batch, classes) and labels (batch,), or for the next token logits (batch, length, vocabulary) and labels (batch, length), each
    position a row; labels int64, −100 where missing → a scalar, at least 0. t is one-hot, or with `smoothing` ε in [0, 1)
    it is (1 − ε)·one-hot + ε/classes (Szegedy et al. 2015, arXiv:1512.00567, section 7). With no labeled row the loss is 0, with a graph.
    """
    rows = F.cross_entropy(
        full_precision(logits.flatten(0, -2)), labels.flatten(), ignore_index=NO_LABEL, label_smoothing=smoothing, reduction="none"
    )
    return rows.sum() / (labels != NO_LABEL).sum().clamp(min=1)
