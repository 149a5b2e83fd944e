"""Small networks in double precision for the tests of data set distillation: smooth, so that gradients can be held against differences."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from engine.distilled_sets.flat import FlatNetwork
from engine.distilled_sets.matching import InnerStep

INPUTS, CLASSES = 6, 3


def network(*, hidden: int = 5) -> FlatNetwork:
    """Two linear layers with tanh between them."""
    return FlatNetwork.of(nn.Sequential(nn.Flatten(), nn.Linear(INPUTS, hidden), nn.Tanh(), nn.Linear(hidden, CLASSES)).double())


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(seed: int, *, hidden: int = 5) -> Tensor:
    return 0.5 * numbers(INPUTS * hidden + hidden + hidden * CLASSES + CLASSES, seed=seed)


def pictures(rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(rows, 1, 2, 3) and labels (rows,)."""
    return numbers(rows, 1, 2, 3, seed=seed), torch.arange(rows) % CLASSES


def everything(steps: int) -> Sequence[InnerStep]:
    """An inner loop of which each step sees all rows as they are."""
    return [InnerStep(None, None)] * steps
