"""The toy of the paper's notebook: eleven noisy points of a sine, whose numbers can be repeated to the last printed digit."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

POINTS = (0.3847664, 1.2333968, 1.3323224, 0.6920159, -0.2975615, -0.2418929, -0.7964486, -0.9616480, -0.4967251, -0.3469066, 0.5589513)
GAMMA, RIDGE, FITS = 80.0, 0.2, 6
PUBLISHED: Mapping[float, tuple[float, ...]] = {
    0.0: (0.16477, 0.15076, 0.14915, 0.15561, 0.16735, 0.18251, 0.49505),
    0.25: (0.16477, 0.15309, 0.14958, 0.14903, 0.14946, 0.15011, 0.15250),
}
"""Mean squared error of six fits and of their limit, by α, as the notebook prints it."""


def errors(alpha: float, *, fits: int = FITS) -> list[float]:
    """Mean squared error against sin(2πx) on x = 0, 0.01, …, 1 of fits 1 to `fits` at a constant α, and of the limit."""
    import math

    import torch

    from engine.methods.teacher_guidance.chain import Ridge, mixed, squared_error
    from engine.models.kernel import rbf

    x, dense = (torch.linspace(0, 1, count, dtype=torch.float64)[:, None] for count in (11, 101))
    labels, truth = torch.tensor(POINTS, dtype=torch.float64)[:, None], torch.sin(2 * math.pi * dense)
    ridge, cross = Ridge.of(rbf(x, x, GAMMA), RIDGE), rbf(dense, x, GAMMA)

    def error(coefficients: "Tensor") -> float:
        return float(squared_error(cross @ coefficients, truth))

    found, values = [], labels
    for _ in range(fits):
        targets = mixed(labels, values, alpha)
        found.append(error(ridge.coefficients(targets)))
        values = ridge.smoothed(targets)
    return [*found, error(ridge.limit_coefficients(labels, alpha))]
