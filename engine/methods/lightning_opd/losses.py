"""Advantages of sampled tokens, the clipped surrogate, and how far a policy has gone from the one that wrote. All (rows, tokens), in nats.

Equation letters are those of Wu, Han & Cai (2026), arXiv:2604.13010: A_t, ρ_t, and w_t = π_θ(a_t|s_t) / π_ref(a_t|s_t).
"""

import torch
from torch import Tensor


def advantages(*, teacher_log_probs: Tensor, student_log_probs: Tensor, clip: float | None) -> Tensor:
    """A_t = clip(log π_T(a_t|s_t) − log π_θ(a_t|s_t), −τ, τ), without gradient: it contains π_θ and must be made anew as that changes."""
    gap = (teacher_log_probs - student_log_probs).detach()
    return gap if clip is None else gap.clamp(-clip, clip)


def surrogate(log_probs: Tensor, *, before: Tensor, advantage: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """max(−ρA, −clip(ρ, 1 − ε_low, 1 + ε_high)·A) with ρ = exp(log π_θ − log π_θ at the batch's start): Schulman et al. (2017),
    arXiv:1707.06347, equation 7. At the first update ρ = 1 and the gradient is that of −A log π_θ."""
    ratio = (log_probs - before.detach()).exp()
    return torch.maximum(-ratio * advantage, -ratio.clamp(1 - clip_low, 1 + clip_high) * advantage)


def clipped(log_probs: Tensor, *, before: Tensor, advantage: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """Where the clipped side of `surrogate` is strictly larger, so that the token has no gradient; bool."""
    ratio = (log_probs - before).exp()
    return -ratio.clamp(1 - clip_low, 1 + clip_high) * advantage > -ratio * advantage


def mean_of_rows(per_token: Tensor, mask: Tensor) -> Tensor:
    """Mean over rows of Σ_t m_t x_t / Σ_t m_t; a row without a real token counts as 0."""
    return (torch.where(mask.bool(), per_token, 0.0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)).mean()


def mean_of_tokens(per_token: Tensor, mask: Tensor) -> Tensor:
    """Σ m x / Σ m over all rows; 0 where there is no real token."""
    return torch.where(mask.bool(), per_token, 0.0).sum() / mask.sum().clamp(min=1)


def drift(*, log_probs: Tensor, start_log_probs: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """How far π_θ is from π_ref on tokens that π_ref wrote, by d = log π_θ − log π_ref: means of k1 = d, k2 = d²/2 and k3 = e^−d − 1 + d, and
    mean and standard deviation (divisor n) of w = e^d. These estimate KL(π_θ ‖ π_ref) on tokens of π_θ only; here they are a distance."""
    d = log_probs.detach() - start_log_probs
    w = d.exp()
    mean = mean_of_tokens(w, mask)
    return {
        "k1": mean_of_tokens(d, mask),
        "k2": mean_of_tokens(d.square() / 2, mask),
        "k3": mean_of_tokens((-d).exp() - 1 + d, mask),
        "weight_mean": mean,
        "weight_std": mean_of_tokens((w - mean).square(), mask).sqrt(),
    }
