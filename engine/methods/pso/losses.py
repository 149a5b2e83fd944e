"""The density of a state under a transition of the sampler, and the losses that compare two of them. Pure functions; equations by the
method's page.

The transitions' means and deviations are those of `engine.diffusion.samplers.transition`, of states x = x₀ + σ·noise. The published density
of re-noising has mean √ᾱ·x̂₀ and deviation √(1 − ᾱ), for variance-preserving states √ᾱ·x; dividing by √ᾱ, which moves every log-density by
the same constant, gives mean x̂₀ and deviation σ.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.diffusion.denoiser import beside


def log_density(x: Tensor, *, mean: Tensor, std: Tensor) -> Tensor:
    """log N(x; mean, std²), the MEAN over all dimensions of a sample and not their sum: (batch, …), std (batch,) → (batch,)."""
    spread = beside(std, x)
    each = -(x - mean).square() / (2 * spread.square()) - spread.log() - 0.5 * math.log(2 * math.pi)
    return each.flatten(1).mean(dim=1)


def preferences(rewards: Tensor, *, several: str, generator: torch.Generator) -> Tensor:
    """Which of two samples is preferred: rewards (batch, 2, kinds) → (batch, 2), rows (1, −1), (−1, 1) or (0, 0).

    random: by one kind of reward, drawn for each pair; a tie counts as a loss of sample 0, as in the code. pareto: the one that no reward
    calls worse and at least one calls better; (0, 0) where neither is.
    """
    first, second = rewards.unbind(dim=1)
    if several == "pareto":
        sign = _dominates(first, second).to(rewards.dtype) - _dominates(second, first).to(rewards.dtype)
    else:
        kinds = rewards.shape[2]
        chosen = torch.randint(kinds, (len(rewards), 1), generator=generator, device=rewards.device)
        wins = (first.gather(1, chosen) > second.gather(1, chosen)).squeeze(1)
        sign = 2 * wins.to(rewards.dtype) - 1
    return torch.stack([sign, -sign], dim=1)


def _dominates(one: Tensor, other: Tensor) -> Tensor:
    return (one >= other).all(dim=1) & (one > other).any(dim=1)


def log_ratios(lp: Tensor, reference_lp: Tensor, *, low: float, high: float) -> Tensor:
    """log ρ with ρ = clip(exp(lp − lp_ref), low, high), elementwise. A clipped ratio has no gradient, on either side."""
    return (lp - reference_lp).clamp(math.log(low), math.log(high))


def online_logits(ratios: Tensor, preferred: Tensor) -> Tensor:
    """pref₀·log ρ₀ + pref₁·log ρ₁, without β: log-ratios and preferences (batch, 2) → (batch,)."""
    return (preferred * ratios).sum(dim=1)


def pairwise_loss(logits: Tensor, *, beta: float) -> Tensor:
    """−log σ(β·logits), (batch,) → (batch,): log 2 where both samples are as likely as under the reference."""
    return -F.logsigmoid(beta * logits)


def denoising_error(x0: Tensor, clean: Tensor, *, sigma: Tensor) -> Tensor:
    """σ⁻²·mean over dimensions of (x̂₀ − x)², (batch, …), sigma (batch,) → (batch,)."""
    return (x0 - clean).square().flatten(1).mean(dim=1) / sigma.square()


def offline_logits(
    target: Tensor, negative: Tensor, *, reference: tuple[Tensor, Tensor] | None = None, negative_weight: float = 1.0
) -> Tensor:
    """(ℓ_ref^w − k·ℓ_ref^l) − (ℓ^w − k·ℓ^l) from the denoising errors of targets w and negatives l, (batch,) each.

    `reference` has the starting model's errors in the same order; without it its part is left out.
    """
    own = target - negative_weight * negative
    return -own if reference is None else reference[0] - negative_weight * reference[1] - own


def hinge_loss(logits: Tensor, *, beta: float) -> Tensor:
    """max(0, 1 − β·logits), (batch,) → (batch,): the loss `pso_db`, which knows no reference."""
    return F.relu(1 - beta * logits)
