"""EDM's preconditioning of a network into a denoiser, and the loss that it is trained with: Karras et al. (2022), arXiv:2206.00364."""

import torch
from torch import Tensor


def preconditioning(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """c_skip, c_out, c_in and c_noise of σ (batch,), each (batch,). Karras et al. (2022), table 1."""
    total = (sigma**2 + sigma_data**2).sqrt()
    return (sigma_data / total) ** 2, sigma * sigma_data / total, 1 / total, sigma.log() / 4


def edm_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """The weight λ(σ) = σ⁻² + σ_data⁻² = 1 / c_out² of a denoiser's squared error: the loss of F is then not weighted at all."""
    return sigma**-2 + sigma_data**-2


def edm_loss(denoised: Tensor, clean: Tensor, sigma: Tensor, sigma_data: float) -> Tensor:
    """λ(σ)·|D − x0|², mean over the entries of each row, (batch,). Karras et al. (2022), equation 8."""
    return edm_weight(sigma, sigma_data) * (denoised - clean).square().flatten(1).mean(dim=1)


def log_normal_levels(count: int, *, mean: float, std: float, low: float, high: float, generator: torch.Generator) -> Tensor:
    """σ (count,) with ln σ ~ N(mean, std²), held between low and high."""
    return (mean + std * torch.randn(count, generator=generator, device=generator.device)).exp().clamp(low, high)
