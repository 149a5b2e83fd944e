"""Differentiable siamese augmentation: Zhao & Bilen (2021), arXiv:2102.08259, with the strengths of its released code.

A draw is made apart from its use, so that the same one can be applied twice: to both passes of a sharpness-aware step, and to both passes of
the constant-memory gradient.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FLIPPED, SCALED, ROTATED = 0.5, 1.2, 15.0
"""Chance of a flip; the largest factor of a scale, its inverse being the smallest; the largest angle in degrees."""
CROPPED, CUT = 0.125, 0.5
"""The largest shift, and the side of the square that is cut out, as shares of the picture's height and width."""
BRIGHTNESS, SATURATION, CONTRAST = 1.0, 2.0, 0.5


@dataclass(frozen=True)
class Draw:
    """One operation for a whole batch, and what it does to each picture: numbers (rows, 3) in [0, 1)."""

    operation: str
    numbers: Tensor


def draw(operations: Sequence[str], rows: int, generator: torch.Generator, device: torch.device) -> Draw | None:
    """One of `operations`, all alike in chance, for a batch of `rows`; None where there are none. `generator` is on the CPU, so that a GPU is
    not waited for."""
    if not operations:
        return None
    chosen = operations[int(torch.randint(len(operations), (), generator=generator))]
    return Draw(chosen, torch.rand(rows, 3, generator=generator).to(device, non_blocking=True))


def apply(pictures: Tensor, drawn: Draw | None) -> Tensor:
    """The pictures (rows, channels, height, width), changed; differentiable in them."""
    if drawn is None:
        return pictures
    numbers = drawn.numbers.to(pictures.dtype)
    return OPERATIONS[drawn.operation](pictures, numbers)


def color(pictures: Tensor, numbers: Tensor) -> Tensor:
    """Brightness, saturation and contrast, in this order."""
    brightness, saturation, contrast = (numbers[:, at].view(-1, 1, 1, 1) for at in range(3))
    pictures = pictures + (brightness - 0.5) * BRIGHTNESS
    gray = pictures.mean(dim=1, keepdim=True)
    pictures = (pictures - gray) * (saturation * SATURATION) + gray
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    return (pictures - mean) * (contrast + CONTRAST) + mean


def crop(pictures: Tensor, numbers: Tensor) -> Tensor:
    """A shift by whole pixels; what comes in is 0."""
    height, width = pictures.shape[2:]
    down, right = (int(size * CROPPED + 0.5) for size in (height, width))
    padded = F.pad(pictures, (right, right, down, down))
    rows = (numbers[:, 0] * (2 * down + 1)).long()[:, None] + torch.arange(height, device=pictures.device)
    columns = (numbers[:, 1] * (2 * right + 1)).long()[:, None] + torch.arange(width, device=pictures.device)
    each = torch.arange(len(pictures), device=pictures.device)[:, None, None]
    return padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cutout(pictures: Tensor, numbers: Tensor) -> Tensor:
    """A square of zeros with its center anywhere in the picture; what lies outside is lost."""
    inside = []
    for at, size in enumerate(pictures.shape[2:]):
        side = int(size * CUT + 0.5)
        center = (numbers[:, at] * (size + 1 - side % 2)).long()[:, None]
        place = torch.arange(size, device=pictures.device)
        inside.append((place >= center - side // 2) & (place < center - side // 2 + side))
    hole = inside[0][:, :, None] & inside[1][:, None, :]
    return pictures * ~hole[:, None]


def flip(pictures: Tensor, numbers: Tensor) -> Tensor:
    """Left and right changed."""
    return torch.where(numbers[:, 0].view(-1, 1, 1, 1) < FLIPPED, pictures.flip(3), pictures)


def scale(pictures: Tensor, numbers: Tensor) -> Tensor:
    """Height and width by factors of their own."""
    factors = numbers[:, :2] * (SCALED - 1 / SCALED) + 1 / SCALED
    return _warped(pictures, torch.diag_embed(factors))


def rotate(pictures: Tensor, numbers: Tensor) -> Tensor:
    """Around the center."""
    angle = (numbers[:, 0] - 0.5) * 2 * math.radians(ROTATED)
    cosine, sine = angle.cos(), angle.sin()
    return _warped(pictures, torch.stack([cosine, -sine, sine, cosine], dim=1).view(-1, 2, 2))


def _warped(pictures: Tensor, matrices: Tensor) -> Tensor:
    """Pictures read at the places that matrices (rows, 2, 2) send each pixel's place to; 0 outside."""
    shifts = torch.zeros_like(matrices[:, :, :1])
    grid = F.affine_grid(torch.cat([matrices, shifts], dim=2), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, align_corners=False)


OPERATIONS = {"color": color, "crop": crop, "cutout": cutout, "flip": flip, "scale": scale, "rotate": rotate}
