"""Orthographic cameras around the unit sphere, and all that a renderer needs of their pixels."""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from engine.rendering import environment
from engine.rendering.deferred import mirror
from engine.rendering.harmonics import basis

HALF_WIDTH = 1.1
"""The image plane is [−1.1, 1.1]² around the sphere's center."""
RIM = 0.98
"""Pixels are used where their squared distance from the center is at most this: beyond it the surface is seen edge on."""
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def fibonacci(count: int, *, turned: float = 0.0) -> Tensor:
    """`count` unit vectors spread evenly, (count, 3) float32, turned about z by so many radians."""
    z = 1 - (2 * torch.arange(count, dtype=torch.float64) + 1) / count
    angle = GOLDEN_ANGLE * torch.arange(count, dtype=torch.float64) + turned
    radius = (1 - z.square()).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], dim=-1).float()


@dataclass(frozen=True)
class Pixels:
    """The used pixels of some cameras in a row. `mask` (cameras, size, size) says where they belong; the others have a row for each of n pixels.

    `points` (n, 3) on the sphere, which are its normals too; `patch` (n,) int64, the nearest of the scene's patches; `normal_basis` and
    `view_basis` (n, 9) the harmonics of the normal and of the ray; `corners` and `weights` (n, 4) the mirror direction's lookup in the light.
    """

    mask: Tensor
    points: Tensor
    patch: Tensor
    normal_basis: Tensor
    view_basis: Tensor
    corners: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.points)

    def to(self, device: torch.device) -> "Pixels":
        return Pixels(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def images(self, values: Tensor) -> Tensor:
        """Values of the pixels (n, channels) as pictures (cameras, channels, size, size), 0 where no pixel is used."""
        pictures = values.new_zeros(*self.mask.shape, values.shape[-1])
        return pictures.masked_scatter(self.mask[..., None], values).permute(0, 3, 1, 2)


def pixels_of(cameras: Tensor, centers: Tensor, *, size: int, light: tuple[int, int]) -> Pixels:
    """What cameras at directions (cameras, 3) from the center see, looking inward with z upward, in size × size pixels.

    `centers` (patches, 3) are those of the scene's patches, `light` is height and width of the environment that is looked up.
    """
    steps = ((torch.arange(size) + 0.5) / size * 2 - 1) * HALF_WIDTH
    up, right = torch.meshgrid(-steps, steps, indexing="ij")
    squared = up.square() + right.square()
    used = squared <= RIM
    depth = (1 - squared).clamp(min=0).sqrt()
    points, toward = [], []
    for backward in cameras:
        pole = torch.tensor([0.0, 0.0, 1.0]) if abs(float(backward[2])) < 0.999 else torch.tensor([0.0, 1.0, 0.0])
        sideways = torch.linalg.cross(pole, backward)
        sideways = sideways / sideways.norm()
        upward = torch.linalg.cross(backward, sideways)
        seen = right[used][:, None] * sideways + up[used][:, None] * upward + depth[used][:, None] * backward
        points.append(seen)
        toward.append((-backward).expand_as(seen))
    point, ray = torch.cat(points), torch.cat(toward)
    corners, weights = environment.footprint(mirror(ray, point), *light)
    return Pixels(
        mask=used.expand(len(cameras), -1, -1).contiguous(),
        points=point,
        patch=(point @ centers.T).argmax(dim=1),
        normal_basis=basis(point),
        view_basis=basis(ray),
        corners=corners,
        weights=weights,
    )
