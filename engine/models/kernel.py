"""A fit that has no layers: kernel ridge regression, as a module that is saved, loaded and judged like a classifier."""

import torch
from torch import Tensor, nn

FLOOR = 1e-6
"""Least value of a class before values are normalized to probabilities: a regression on one-hot targets may give 0 and less."""


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """‖a_i − b_j‖², at least 0; a (m, inputs), b (n, inputs) → (m, n)."""
    distances = a.square().sum(dim=1, keepdim=True) + b.square().sum(dim=1) - 2 * a @ b.T
    return distances.clamp(min=0)


def rbf(a: Tensor, b: Tensor, gamma: float) -> Tensor:
    """exp(−γ‖a_i − b_j‖²), 0…1; a (m, inputs), b (n, inputs) → (m, n)."""
    return torch.exp(-gamma * squared_distances(a, b))


class KernelRidge(nn.Module):
    """f(x) = k(x, X) C with the RBF kernel, its rows X (rows, inputs) and coefficients C (rows, classes), all in float64.

    They are parameters that no optimizer trains, so that they are counted as what the model weighs.
    """

    def __init__(self, *, rows: int, inputs: int, classes: int, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.support = nn.Parameter(torch.zeros(rows, inputs, dtype=torch.float64), requires_grad=False)
        self.coefficients = nn.Parameter(torch.zeros(rows, classes, dtype=torch.float64), requires_grad=False)

    def values(self, inputs: Tensor) -> Tensor:
        """(batch, …) → f(x) (batch, classes) in float64, as fitted: neither positive nor of sum 1 for certain."""
        return rbf(inputs.flatten(1).double(), self.support, self.gamma) @ self.coefficients

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, …) → logits (batch, classes) in float32 whose softmax is f(x), cut at 0.000001 from below and divided by its sum."""
        return self.values(inputs).clamp(min=FLOOR).log().float()


def kernel_ridge(*, rows: int, inputs: int, classes: int, gamma: float) -> KernelRidge:
    """An empty fit, to be filled."""
    return KernelRidge(rows=rows, inputs=inputs, classes=classes, gamma=gamma)
