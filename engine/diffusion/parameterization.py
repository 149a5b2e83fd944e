"""From what a network predicts to the clean example and back, on any affine process x_t = α·x0 + s·ε, and any such network as an EDM denoiser.

α and s broadcast against x_t (batch, …). Salimans & Ho (2022), arXiv:2202.00512, for v; Liu et al. (2022), arXiv:2209.03003, for the flow
u = ε − x0. The rest is algebra (derived).
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from engine.diffusion.denoiser import Denoise, beside
from engine.diffusion.schedules import alpha_bar_of_sigma, nearest_index, share_of_sigma, sigma_of_alpha_bar

Prediction = Literal["eps", "x0", "v", "flow", "score"]
Predict = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""A foreign network: (x_t, time, y) → its prediction."""


def to_x0(prediction: Prediction, value: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The clean example that a prediction of the given kind says."""
    match prediction:
        case "eps":
            return (x_t - sigma * value) / alpha
        case "x0":
            return value
        case "v":
            return (alpha * x_t - sigma * value) / (alpha**2 + sigma**2)
        case "flow":
            return (x_t - sigma * value) / (alpha + sigma)
        case "score":
            return (x_t + sigma**2 * value) / alpha


def from_x0(prediction: Prediction, x0: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """What a network of the given kind would have to say for the clean example x0: the inverse of `to_x0`."""
    eps = (x_t - alpha * x0) / sigma
    match prediction:
        case "eps":
            return eps
        case "x0":
            return x0
        case "v":
            return alpha * eps - sigma * x0
        case "flow":
            return eps - x0
        case "score":
            return -eps / sigma


def vp_denoiser(predict: Predict, prediction: Prediction, alpha_bars: Tensor) -> Denoise:
    """A variance-preserving network with discrete times 0 … T − 1, whose ᾱ are alpha_bars (T,), as an EDM denoiser.

    It is asked at the time whose σ is nearest in logarithm: exact when σ came from the table.
    """
    sigmas = sigma_of_alpha_bar(alpha_bars)

    def denoise(x: Tensor, sigma: Tensor, y: Tensor | None) -> Tensor:
        times = nearest_index(sigma, sigmas.to(x.device))
        alpha = beside(alpha_bar_of_sigma(sigma).sqrt(), x)
        x_t = alpha * x
        return to_x0(prediction, predict(x_t, times, y), x_t, alpha, alpha * beside(sigma, x))

    return denoise


def flow_denoiser(predict: Predict, prediction: Prediction = "flow") -> Denoise:
    """A rectified-flow network with times t in 0…1, the share of noise, as an EDM denoiser: t = σ / (1 + σ), x_t = (1 − t)·x."""

    def denoise(x: Tensor, sigma: Tensor, y: Tensor | None) -> Tensor:
        times = share_of_sigma(sigma)
        share = beside(times, x)
        x_t = (1 - share) * x
        return to_x0(prediction, predict(x_t, times, y), x_t, 1 - share, share)

    return denoise


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
