"""How the experts are trained whose weights a data set is distilled from: SGD, or sharpness-aware steps, on one vector of weights."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.distilled_sets.flat import FlatNetwork, loss_gradient

TINY = 1e-12


class ExpertGradient(NamedTuple):
    """What an optimizer is given for one batch. `loss` is that of the weights themselves; `rise` is how far the loss of the perturbed weights
    lies above it, `cosine` that of the two gradients; both are None where there was one pass only."""

    direction: Tensor
    loss: Tensor
    rise: Tensor | None = None
    cosine: Tensor | None = None


def perturbation(theta: Tensor, gradient: Tensor, *, rho: float, adaptive: bool) -> Tensor:
    """The step e (parameters,) that raises the loss most, to first order: of norm rho, or with `adaptive` of norm rho after each entry is
    divided by its weight. SAM: Foret et al. (2020), arXiv:2010.01412, equation 2; ASAM: Kwon et al. (2021), arXiv:2102.11600, equation 7."""
    if adaptive:
        scaled: Tensor = rho * theta.square() * gradient / ((theta.abs() * gradient).norm() + TINY)
        return scaled
    plain: Tensor = rho * gradient / (gradient.norm() + TINY)
    return plain


def surrogate_direction(gradient: Tensor, perturbed: Tensor, *, alpha: float) -> tuple[Tensor, Tensor]:
    """GSAM's direction g_p − α·v, with v the part of g that is orthogonal to g_p, and the cosine of g and g_p.

    All norms are over all parameters. Zhuang et al. (2022), arXiv:2203.08065, algorithm 1.
    """
    norm, perturbed_norm = gradient.norm(), perturbed.norm()
    cosine = gradient.dot(perturbed) / (norm * perturbed_norm + TINY)
    orthogonal = gradient - cosine * norm * perturbed / (perturbed_norm + TINY)
    return perturbed - alpha * orthogonal, cosine


def plain_gradient(loss_at: Callable[[Tensor], Tensor], theta: Tensor) -> ExpertGradient:
    """That of SGD."""
    loss, gradient = loss_gradient(loss_at, theta)
    return ExpertGradient(gradient, loss)


def flat_gradient(loss_at: Callable[[Tensor], Tensor], theta: Tensor, *, rho: float, alpha: float, adaptive: bool) -> ExpertGradient:
    """That of GSAM; with α = 0 of SAM, or of ASAM where adaptive; with rho = 0 of SGD. `loss_at` must be of the same batch, augmented the same
    way, in both passes. theta is not changed: the perturbed weights are a copy."""
    loss, gradient = loss_gradient(loss_at, theta)
    raised, perturbed = loss_gradient(loss_at, theta + perturbation(theta, gradient, rho=rho, adaptive=adaptive))
    direction, cosine = surrogate_direction(gradient, perturbed, alpha=alpha)
    return ExpertGradient(direction, loss, raised - loss, cosine)


@torch.no_grad()
def loss_rise(network: FlatNetwork, theta: Tensor, inputs: Tensor, labels: Tensor, *, directions: Tensor, radius: float) -> Tensor:
    """How sharp the loss is at theta: (3,) of the mean cross-entropy there, and the mean and the largest of its rises at
    theta + r·‖theta‖·u/‖u‖, u = z·|theta| element by element, over the rows z of directions (count, parameters)."""

    def loss_at(point: Tensor) -> Tensor:
        return F.cross_entropy(network.logits(point, inputs), labels)

    base = loss_at(theta)
    rises = []
    for z in directions:
        u = z * theta.abs()
        rises.append(loss_at(theta + radius * theta.norm() * u / u.norm()) - base)
    each = torch.stack(rises)
    return torch.stack([base, each.mean(), each.max()])
