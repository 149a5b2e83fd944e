"""A few-step sampler as a chain of Gaussian transitions, with everything on the way kept."""

import torch
from torch import Tensor

from engine.diffusion.denoiser import Denoise, beside
from engine.methods.pso.losses import ancestral, renoising


def transition(x: Tensor, x0: Tensor, *, sigma: Tensor, sigma_to: Tensor, sampler: str) -> tuple[Tensor, Tensor]:
    """Mean (batch, …) and standard deviation (batch,) of the next state, from the state x and the prediction x0."""
    if sampler == "ancestral":
        return ancestral(x, x0, sigma=sigma, sigma_to=sigma_to)
    return renoising(x0, sigma_to=sigma_to)


@torch.no_grad()
def trajectories(
    denoise: Denoise, noise: Tensor, labels: Tensor | None, *, levels: Tensor, sampler: str, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Unit noise (rows, …) and falling levels (S,) → the states at those levels (rows, S, …) and the samples (rows, …).

    The last step has no noise of its own: it is the prediction at the last level.
    """
    x = levels[0] * noise
    states = [x]
    for sigma, sigma_to in zip(levels, levels[1:], strict=False):
        here, there = sigma.expand(len(x)), sigma_to.expand(len(x))
        mean, std = transition(x, denoise(x, here, labels), sigma=here, sigma_to=there, sampler=sampler)
        x = mean + beside(std, x) * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        states.append(x)
    return torch.stack(states, dim=1), denoise(x, levels[-1].expand(len(x)), labels)
