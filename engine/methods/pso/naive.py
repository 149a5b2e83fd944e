"""What the tuned generator is compared with: plain denoising on the best of the starting model's own samples, tuned and stopped by drift."""

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from engine.methods.pso.method import VIEW_SEED, VIEWED
from engine.methods.pso.starting_generator import regressed
from engine.metrics.distances import energy_distance
from engine.models.denoisers import Denoiser

STEPS, RATE = 1200, 2e-4


def viewed(model: Denoiser) -> Tensor:
    """Samples (VIEWED, 2) of a generator of points without classes, from the noise that PSO's diagnostics look at."""
    random = torch.Generator().manual_seed(VIEW_SEED)
    with torch.no_grad():
        return model.sample(torch.randn(VIEWED, 2, generator=random), None, random)


def drift(model: Denoiser, start: Denoiser) -> float:
    """The energy distance of their samples from the same noise: PSO's diagnostic of that name."""
    return energy_distance(viewed(start), viewed(model))


def best_share(samples: Tensor, scores: Tensor, share: float) -> Tensor:
    """The samples (rows, 2) with the highest scores (rows,), that share of them."""
    return samples[scores.topk(max(1, round(share * len(samples)))).indices]


def denoised(start: Denoiser, points: Tensor, *, seed: int, drifted: Callable[[Denoiser], bool]) -> Denoiser:
    """A copy of `start` after plain denoising on points (rows, 2): at most 1,200 Adam steps at 0.0002 falling to 0 on a line, until it has
    `drifted`."""
    model, random = copy.deepcopy(start), torch.Generator().manual_seed(seed)

    def draw(rows: int) -> Tensor:
        return points[torch.randint(len(points), (rows,), generator=random)]

    for _ in regressed(model, draw, steps=STEPS, rate=RATE, last=0.0, clip=None, generator=random):
        if drifted(model):
            break
    return model


def tuned_to_drift(
    start: Denoiser,
    samples: Tensor,
    scores: Tensor,
    *,
    shares: Sequence[float],
    drift_wanted: float,
    error: Callable[[Denoiser], float],
    seed: int,
) -> tuple[Denoiser, Mapping[float, float]]:
    """The best of one model for each share, each stopped at its first drift of at least `drift_wanted`; and the errors by share. Which is best
    is for `error` to say, the lower the better: it must not look at the test split."""
    made = {}
    for share in shares:
        points = best_share(samples, scores, share)
        made[share] = denoised(start, points, seed=seed, drifted=lambda model: drift(model, start) >= drift_wanted)
    errors = {share: error(model) for share, model in made.items()}
    return made[min(errors, key=errors.__getitem__)], errors
