"""Noise schedules, and where each stands on the one axis inside: σ of EDM, the noise's standard deviation beside an unscaled example.

A variance-preserving or flow model sees x_t = α·x0 + s·ε; inside that is x = x_t / α at σ = s / α. Small t is clean, large t is noise.
All tables are float64 on the CPU. Karras et al. (2022), arXiv:2206.00364; derived where no source is given.
"""

import math
from typing import Literal

import torch
from torch import Tensor

BetaSchedule = Literal["linear", "scaled_linear", "cosine"]


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


def betas(kind: BetaSchedule, steps: int = 1000) -> Tensor:
    """β of a discrete variance-preserving process, (steps,), both ends included.

    linear: Ho et al. (2020), arXiv:2006.11239. scaled_linear: linear in the square root, as Stable Diffusion. cosine: Nichol & Dhariwal
    (2021), arXiv:2102.09672.
    """
    match kind:
        case "linear":
            return torch.linspace(1e-4, 0.02, steps, dtype=torch.float64)
        case "scaled_linear":
            return torch.linspace(math.sqrt(0.00085), math.sqrt(0.012), steps, dtype=torch.float64) ** 2
        case "cosine":
            times = torch.arange(steps + 1, dtype=torch.float64) / steps
            f = torch.cos((times + 0.008) / 1.008 * math.pi / 2) ** 2
            return (1 - f[1:] / f[:-1]).clamp(max=0.999)


def alpha_bar(kind: BetaSchedule, steps: int = 1000) -> Tensor:
    """ᾱ_t = Π (1 − β_i) for i = 0 … t, (steps,). Stable Diffusion's last is 0.00466 and not 0."""
    return (1 - betas(kind, steps)).cumprod(dim=0)


def sigma_of_alpha_bar(values: Tensor) -> Tensor:
    """σ = √((1 − ᾱ) / ᾱ)."""
    return ((1 - values) / values).sqrt()


def alpha_bar_of_sigma(sigma: Tensor) -> Tensor:
    """ᾱ = 1 / (1 + σ²): also the factor α² by which a loss of the variance-preserving process is weighted."""
    return 1 / (1 + sigma**2)


def sigma_of_vp_time(t: Tensor, beta_min: float = 0.1, beta_range: float = 19.9) -> Tensor:
    """σ of the continuous variance-preserving process at t in [1e-5, 1]: √(exp(½·19.9·t² + 0.1·t) − 1). Song et al. (2021)."""
    return torch.expm1(0.5 * beta_range * t**2 + beta_min * t).sqrt()


def sigma_of_share(share: Tensor) -> Tensor:
    """Rectified flow's share of noise t in [0, 1) → σ = t / (1 − t)."""
    return share / (1 - share)


def share_of_sigma(sigma: Tensor) -> Tensor:
    """σ → rectified flow's share of noise t = σ / (1 + σ)."""
    return sigma / (1 + sigma)


def shifted(share: Tensor, shift: float) -> Tensor:
    """The time shift of flow models: t' = k·t / (1 + (k − 1)·t), t the share of noise. Esser et al. (2024), arXiv:2403.03206, equation 23."""
    return shift * share / (1 + (shift - 1) * share)


def nearest_index(sigma: Tensor, table: Tensor) -> Tensor:
    """The index (batch,) of the table's level (levels,) that is nearest in logarithm: exact for a σ that came from the table."""
    return (sigma.log()[:, None] - table.to(sigma).log()[None, :]).abs().argmin(dim=1)
