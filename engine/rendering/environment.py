"""Light from far away, as a picture of all directions: rows from the pole +z to −z, columns around it from the axis +x."""

import math

import torch
from torch import Tensor

from engine.rendering.harmonics import basis


def directions(height: int, width: int) -> Tensor:
    """The unit vector of each pixel's center, (height, width, 3) float32."""
    theta = (torch.arange(height) + 0.5) * (math.pi / height)
    phi = (torch.arange(width) + 0.5) * (2 * math.pi / width)
    theta, phi = torch.meshgrid(theta, phi, indexing="ij")
    return torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], dim=-1)


def solid_angles(height: int, width: int) -> Tensor:
    """The exact solid angle of each pixel in steradians, (height, width); they sum to 4π."""
    edges = torch.linspace(0, math.pi, height + 1, dtype=torch.float64).cos()
    return ((edges[:-1] - edges[1:]) * (2 * math.pi / width)).float()[:, None].expand(height, width)


def projector(height: int, width: int) -> Tensor:
    """(9, height·width): times a picture of light (height·width, 3) it gives the coefficients c_lm = ∫ E Y_lm."""
    return (basis(directions(height, width)) * solid_angles(height, width)[..., None]).flatten(0, 1).T.contiguous()


def footprint(toward: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Bilinear lookup: of unit vectors (n, 3) the four pixels around each, (n, 4) int64 in row-major order, and their weights (n, 4).

    Columns go around; beyond the first and last row's centers those rows are repeated.
    """
    x, y, z = toward.unbind(dim=-1)
    row = torch.acos(z.clamp(-1, 1)) * (height / math.pi) - 0.5
    column = torch.atan2(y, x).remainder(2 * math.pi) * (width / (2 * math.pi)) - 0.5
    top, left = row.floor(), column.floor()
    down, right = row - top, column - left
    rows = torch.stack([top, top, top + 1, top + 1], dim=-1).long().clamp(0, height - 1)
    columns = torch.stack([left, left + 1, left, left + 1], dim=-1).long().remainder(width)
    weights = torch.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], dim=-1)
    return rows * width + columns, weights


def lobes(height: int, width: int, *, ambient: float, lights: list[tuple[float, tuple[float, ...], float, tuple[float, ...]]]) -> Tensor:
    """(height, width, 3): ambient + Σ strength · exp(−|d − center|² / spread) · color over `lights` (strength, center, spread, color)."""
    toward = directions(height, width)
    light = torch.full_like(toward, ambient)
    for strength, center, spread, color in lights:
        distance = (toward - torch.tensor(center)).square().sum(dim=-1, keepdim=True)
        light = light + strength * torch.exp(-distance / spread) * torch.tensor(color)
    return light
