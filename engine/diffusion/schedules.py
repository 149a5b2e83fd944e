"""Noise schedules, and where each stands on the one axis inside: σ of EDM, the noise's standard deviation beside an unscaled example.

A rectified flow sees x_t = (1 − t)·x0 + t·ε; inside that is x = x_t / (1 − t) at σ = t / (1 − t), and t is σ's share of noise. All tables are
float64 on the CPU. Karras et al. (2022), arXiv:2206.00364; derived where no source is given.
"""

import torch
from torch import Tensor


def karras_grid(count: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """`count` levels from sigma_max down to sigma_min, (count,), without the last 0. Karras et al. (2022), equation 5."""
    assert count >= 1 and 0 < sigma_min <= sigma_max, "a grid has at least one level, and 0 < sigma_min ≤ sigma_max"
    if count == 1:
        return torch.tensor([sigma_max], dtype=torch.float64)
    share = torch.arange(count, dtype=torch.float64) / (count - 1)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    grid: Tensor = (high + share * (low - high)) ** rho
    return grid


def karras_table(sigma_min: float, sigma_max: float, count: int = 1000) -> Tensor:
    """The grid in ascending order, as discrete times of a model without any: index 0 is the cleanest level."""
    return karras_grid(count, sigma_min, sigma_max).flip(0)


def geometric_grid(count: int, sigma_min: float = 0.02, sigma_max: float = 100.0) -> Tensor:
    """The variance-exploding schedule σ_min·(σ_max/σ_min)^u for u from 0 to 1, (count,) ascending. Song et al. (2021), arXiv:2011.13456."""
    return sigma_min * (sigma_max / sigma_min) ** torch.linspace(0, 1, count, dtype=torch.float64)


def sigma_of_share(share: Tensor) -> Tensor:
    """Rectified flow's share of noise t in [0, 1) → σ = t / (1 − t)."""
    return share / (1 - share)


def share_of_sigma(sigma: Tensor) -> Tensor:
    """σ → rectified flow's share of noise t = σ / (1 + σ)."""
    return sigma / (1 + sigma)


def shifted(share: Tensor, shift: float) -> Tensor:
    """The time shift of flow models: t' = k·t / (1 + (k − 1)·t), t the share of noise. Esser et al. (2024), arXiv:2403.03206, equation 23."""
    return shift * share / (1 + (shift - 1) * share)
