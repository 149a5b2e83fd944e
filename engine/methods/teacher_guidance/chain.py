"""Ridge regressions that teach one another, in closed form: Borup & Andersen (2021), arXiv:2102.13088, sections 3 and 4. All in float64.

τ counts fits from 1. Y⁰ = Y; fit τ has the targets T^τ = α_τ Y + (1 − α_τ) Y^{τ−1} and the values Y^τ = S T^τ at the training points, with
S = K (K + λI)⁻¹.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

GRID = tuple(index / 20 for index in range(21))
SAME = 1e-12


@dataclass(frozen=True)
class Ridge:
    """K = V diag(d) Vᵀ with d (n,) descending and at least 0, V (n, n), and λ > 0: solved once for all fits."""

    d: Tensor
    v: Tensor
    ridge: float

    @classmethod
    def of(cls, kernel: Tensor, ridge: float) -> "Ridge":
        """From K (n, n), symmetric and positive semidefinite."""
        d, v = torch.linalg.eigh(kernel.double())
        return cls(d.flip(0).clamp(min=0), v.flip(1), ridge)

    @property
    def shrinkage(self) -> Tensor:
        """a_j = d_j / (d_j + λ), (n,), 0…1: the diagonal of B¹ = A."""
        return self.d / (self.d + self.ridge)

    def smoothed(self, targets: Tensor) -> Tensor:
        """S T, (n, c) → (n, c): the fit's values at the training points."""
        return self.v @ (self.shrinkage[:, None] * (self.v.T @ targets))

    def coefficients(self, targets: Tensor) -> Tensor:
        """(K + λI)⁻¹ T, (n, c): a fit is k(x, X) times these."""
        return self.v @ ((self.v.T @ targets) / (self.d + self.ridge)[:, None])

    def limit_coefficients(self, labels: Tensor, alpha: float) -> Tensor:
        """Of f^∞ at a constant α: (K + (λ/α) I)⁻¹ Y, a ridge regression with λ/α; zeros at α = 0."""
        if alpha == 0:
            return torch.zeros_like(labels)
        return self.v @ ((self.v.T @ labels) / (self.d + self.ridge / alpha)[:, None])

    def limit(self, labels: Tensor, alpha: float) -> Tensor:
        """Y^∞ = αK (αK + λI)⁻¹ Y, (n, c)."""
        return self.v @ ((alpha * self.d / (alpha * self.d + self.ridge))[:, None] * (self.v.T @ labels))


def mixed(labels: Tensor, previous: Tensor, alpha: float | Tensor) -> Tensor:
    """T^τ = α Y + (1 − α) Y^{τ−1}."""
    return alpha * labels + (1 - alpha) * previous


def next_diagonal(a: Tensor, before: Tensor, alpha: float | Tensor) -> Tensor:
    """Diagonal of B^τ = A((1 − α) B^{τ−1} + αI), (n,); before the first fit B is the identity."""
    return a * ((1 - alpha) * before + alpha)


def diagonal(a: Tensor, fit: int, alpha: float) -> Tensor:
    """The same at a constant α by the geometric series: a^τ (1 − α)^{τ−1} + α a Σ_{i=0}^{τ−2} (a (1 − α))^i, τ = `fit` from 1."""
    series = sum(((a * (1 - alpha)) ** power for power in range(fit - 1)), torch.zeros_like(a))
    return a**fit * (1 - alpha) ** (fit - 1) + alpha * a * series


def best_alpha(*, first: Tensor, pure: Tensor, truth: Tensor) -> Tensor:
    """α* = ⟨u − v, ỹ − v⟩ / ‖u − v‖², unclipped, as a scalar: the least squared error of v + α(u − v) over all entries.

    u = `first` is the fit to the ground truth, v = `pure` that to the previous values alone, ỹ = `truth`, (m, c) each on held-out rows. 1 where
    ‖u − v‖² < 1e-12. For networks the same formula is an approximation, exact for linear smoothers.
    """
    apart = first - pure
    square = apart.square().sum()
    found = (apart * (truth - pure)).sum() / square.clamp(min=SAME)
    return torch.where(square < SAME, torch.ones_like(found), found)


def squared_error(values: Tensor, truth: Tensor) -> Tensor:
    """Mean over all entries of (values − truth)², as a scalar."""
    return (values - truth).square().mean()


def grid_errors(*, first: Tensor, pure: Tensor, truth: Tensor) -> Tensor:
    """The error of v + α(u − v) at the 21 points of the grid on [0, 1], (21,)."""
    return torch.stack([squared_error(mixed(first, pure, alpha), truth) for alpha in GRID])
