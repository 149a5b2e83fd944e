"""The sampler's chain of Gaussian transitions with everything on the way kept, and the likelihood of one of its transitions."""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.diffusion.denoiser import Denoise
from engine.diffusion.samplers import Transition, states, transition
from engine.methods.pso.losses import log_density


@torch.no_grad()
def trajectories(
    denoise: Denoise, noise: Tensor, labels: Tensor | None, *, levels: Sequence[float], sampler: Transition, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Unit noise (rows, …) and falling levels (S of them) → the states at those levels (rows, S, …) and the samples (rows, …).

    The last step has no noise of its own: it is the prediction at the last level.
    """
    visited = list(states(denoise, noise, levels, labels, generator, kind=sampler))
    last = visited[-1]
    return torch.stack(visited, dim=1), denoise(last, last.new_full((len(last),), levels[-1]), labels)


def log_likelihood(
    denoise: Denoise, before: Tensor, after: Tensor, labels: Tensor | None, *, sigma: Tensor, sigma_to: Tensor, sampler: Transition
) -> Tensor:
    """log p(after | before), (rows,), of states (rows, …) at levels sigma (rows,) and sigma_to (rows,), with gradient through the mean only."""
    mean, std = transition(sampler, before, denoise(before, sigma, labels), sigma=sigma, sigma_to=sigma_to)
    return log_density(after, mean=mean, std=std)
