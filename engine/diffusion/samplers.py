"""From noise to samples with an EDM denoiser. Levels are descending; integrators end at σ = 0."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from engine.diffusion.denoiser import Denoise


def heun(denoise: Denoise, start: Tensor, levels: Tensor, labels: Tensor | None) -> Tensor:
    """Algorithm 1 of Karras et al. (2022) without churn: second order but for the last step, 2N − 1 evaluations for N levels.

    start (batch, …) is unit noise times levels[0]; levels (N,) without the last 0. The state is kept in float64, the network is called
    in start's dtype.
    """
    x = start.double()
    for here, below in pairwise([*levels.tolist(), 0.0]):
        slope = _slope(denoise, x, here, labels, start.dtype)
        ahead = x + (below - here) * slope
        if below > 0:
            slope = (slope + _slope(denoise, ahead, below, labels, start.dtype)) / 2
            ahead = x + (below - here) * slope
        x = ahead
    return x.to(start.dtype)


def euler(denoise: Denoise, start: Tensor, levels: Tensor, labels: Tensor | None) -> Tensor:
    """The first-order integrator, N evaluations; see `heun`. It is DDIM with η = 0."""
    x = start.double()
    for here, below in pairwise([*levels.tolist(), 0.0]):
        x = x + (below - here) * _slope(denoise, x, here, labels, start.dtype)
    return x.to(start.dtype)


def ddim_step(x0: Tensor, eps: Tensor, *, here: tuple[Tensor, Tensor], below: tuple[Tensor, Tensor], eta: float, noise: Tensor) -> Tensor:
    """One step of DDIM on an affine process: from (α_t, σ_t) `here` to (α_s, σ_s) `below`, each broadcastable to x0 (batch, …).

    η = 0 adds none of the `noise`, η = 1 is ancestral sampling of DDPM. Song et al. (2021), arXiv:2010.02502, equations 12 and 16.
    """
    (alpha, sigma), (alpha_below, sigma_below) = here, below
    fresh = eta * sigma_below / sigma * (1 - (alpha / alpha_below) ** 2).clamp(min=0).sqrt()
    return alpha_below * x0 + (sigma_below**2 - fresh**2).clamp(min=0).sqrt() * eps + fresh * noise


def few_step(
    denoise: Denoise, noise: Tensor, levels: Sequence[float], labels: Tensor | None, generator: torch.Generator | None = None
) -> Tensor:
    """The sampler of consistency models, LCM and DMD2: predict the clean example, add fresh noise of the next level, predict again.

    noise (batch, …) is of unit variance. With one level that is D(σ_0·z, σ_0, y).
    """
    x = levels[0] * noise
    for place, level in enumerate(levels):
        clean = denoise(x, x.new_full((len(x),), level), labels)
        if place + 1 < len(levels):
            x = clean + levels[place + 1] * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return clean


def _slope(denoise: Denoise, x: Tensor, sigma: float, labels: Tensor | None, dtype: torch.dtype) -> Tensor:
    """dx/dσ of the probability-flow equation: (x − D(x, σ)) / σ, in float64."""
    given = x.to(dtype)
    return (x - denoise(given, given.new_full((len(given),), sigma), labels).double()) / sigma
