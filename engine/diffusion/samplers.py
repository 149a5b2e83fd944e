"""From noise to samples with an EDM denoiser. Levels are descending; integrators end at σ = 0."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from engine.diffusion.denoiser import Denoise, beside

Transition = Literal["renoise", "ancestral"]
"""How a few-step sampler gets from one level to the next; see `transition`."""


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


def renoise(x0: Tensor, *, sigma_to: Tensor) -> tuple[Tensor, Tensor]:
    """The transition of consistency models, LCM and DMD2: mean x0 (batch, …) and standard deviation sigma_to (batch,) of the next state."""
    return x0, sigma_to


def ancestral(x: Tensor, x0: Tensor, *, sigma: Tensor, sigma_to: Tensor) -> tuple[Tensor, Tensor]:
    """The transition of the Euler-ancestral sampler: mean (batch, …) and standard deviation σ_up (batch,) of the next state.

    σ_up² = σ_to²(σ² − σ_to²)/σ² and σ_down² = σ_to² − σ_up²; the mean is the Euler step from σ to σ_down. crowsonkb/k-diffusion,
    `sample_euler_ancestral`; Song et al. (2021), arXiv:2011.13456.
    """
    up_squared = sigma_to.square() * (sigma.square() - sigma_to.square()) / sigma.square()
    down = (sigma_to.square() - up_squared).sqrt()
    mean = x + (x - x0) * beside((down - sigma) / sigma, x)
    return mean, up_squared.sqrt()


def transition(kind: Transition, x: Tensor, x0: Tensor, *, sigma: Tensor, sigma_to: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (batch, …) and standard deviation (batch,) of the next state, given the state x at levels sigma (batch,), the prediction x0 and
    the next levels sigma_to (batch,), sigma > sigma_to > 0."""
    return ancestral(x, x0, sigma=sigma, sigma_to=sigma_to) if kind == "ancestral" else renoise(x0, sigma_to=sigma_to)


def states(
    denoise: Denoise,
    noise: Tensor,
    levels: Sequence[float],
    labels: Tensor | None,
    generator: torch.Generator | None = None,
    *,
    kind: Transition = "renoise",
) -> Iterator[Tensor]:
    """The states of a few-step sampler, (batch, …) at each of the levels in turn, from noise (batch, …) of unit variance. Each is computed when
    it is asked for; `generator` draws the noise of each transition."""
    x = levels[0] * noise
    yield x
    for sigma, sigma_to in pairwise(levels):
        here, there = x.new_full((len(x),), sigma), x.new_full((len(x),), sigma_to)
        mean, std = transition(kind, x, denoise(x, here, labels), sigma=here, sigma_to=there)
        x = mean + beside(std, x) * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        yield x


def few_step(
    denoise: Denoise,
    noise: Tensor,
    levels: Sequence[float],
    labels: Tensor | None,
    generator: torch.Generator | None = None,
    *,
    kind: Transition = "renoise",
) -> Tensor:
    """Samples (batch, …) from noise (batch, …) of unit variance: the prediction at the last of the `states`.

    With one level that is D(σ_0·z, σ_0, y).
    """
    for x in states(denoise, noise, levels, labels, generator, kind=kind):
        last = x
    return denoise(last, last.new_full((len(last),), levels[-1]), labels)


def _slope(denoise: Denoise, x: Tensor, sigma: float, labels: Tensor | None, dtype: torch.dtype) -> Tensor:
    """dx/dσ of the probability-flow equation: (x − D(x, σ)) / σ, in float64."""
    given = x.to(dtype)
    return (x - denoise(given, given.new_full((len(given),), sigma), labels).double()) / sigma
