"""Points of a plane, drawn from mixtures that a few thousand numbers of weights can learn."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

MOON_SHARE, MOON_SHIFT, MOON_NOISE = 0.25, 0.35, 0.05
RING, RADIUS, RING_NOISE = 8, 1.0, 0.05


def two_moons(rows: int, generator: torch.Generator) -> Tensor:
    """Two half circles, the lower with a quarter of the points: (rows, 2) float32 on the generator's device.

    k ~ Bernoulli(0.25) and a ~ U(0, π); (cos a, sin a) if k = 0, (1 − cos a, 0.5 − sin a) if k = 1; minus 0.35, plus N(0, 0.05²) noise.
    """
    lower = (torch.rand(rows, generator=generator, device=generator.device) < MOON_SHARE).float()
    angle = torch.rand(rows, generator=generator, device=generator.device) * math.pi
    upper_moon = torch.stack([angle.cos(), angle.sin()], dim=1)
    lower_moon = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)
    points = torch.lerp(upper_moon, lower_moon, lower[:, None]) - MOON_SHIFT
    return points + MOON_NOISE * torch.randn(points.shape, generator=generator, device=generator.device)


def eight_gaussians(rows: int, generator: torch.Generator) -> Tensor:
    """Eight round groups of deviation 0.05, evenly on the unit circle and equally likely: (rows, 2) float32 on the generator's device."""
    angle = torch.randint(RING, (rows,), generator=generator, device=generator.device) * (2 * math.pi / RING)
    centers = RADIUS * torch.stack([angle.cos(), angle.sin()], dim=1)
    return centers + RING_NOISE * torch.randn(centers.shape, generator=generator, device=generator.device)


MIXTURES: dict[str, Callable[[int, torch.Generator], Tensor]] = {"two-moons": two_moons, "eight-gaussians": eight_gaussians}
