"""The true scene: what the photos were made of. A unit sphere of 400 patches, reflective light, and a ring that glows by itself."""

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.rendering import environment
from engine.rendering.cameras import Pixels, fibonacci, pixels_of
from engine.rendering.harmonics import irradiance

PATCHES, SIZE, HEIGHT, WIDTH = 400, 32, 16, 32
Lights = list[tuple[float, tuple[float, ...], float, tuple[float, ...]]]

CAMERAS = {"train": (12, 0.0), "validation": (4, 0.65), "test": (6, 1.3)}
"""Number of cameras of each split, and by how many radians they are turned."""
LIGHT: tuple[float, Lights] = (
    0.25,
    [(1.6, (0.6, 0.3, 0.74), 0.08, (1.0, 0.9, 0.7)), (0.9, (-0.7, 0.5, 0.2), 0.05, (0.4, 0.6, 1.0))],
)
"""The light of all photos: ambient, and lobes of strength, center, spread, color."""
OTHER_LIGHTS: dict[str, tuple[float, Lights]] = {
    "train": (0.3, [(1.3, (0.0, 0.9, -0.44), 0.08, (1.0, 1.0, 0.6))]),
    "validation": (0.3, [(1.3, (0.75, -0.2, -0.63), 0.08, (1.0, 0.7, 0.8))]),
    "test": (0.3, [(1.5, (0.0, -0.8, 0.6), 0.08, (0.6, 1.0, 0.6))]),
}
"""What a split is relit by."""
RING_CENTER, RING_HALF_WIDTH, GLOW = -0.3, 0.13, (0.6, 0.05, 0.05)


@dataclass(frozen=True)
class Photos:
    """A split's cameras: their pixels, the photos' colors (n, 3), and the same scene under the split's other light, without its glow."""

    pixels: Pixels
    photos: Tensor
    other_light: Tensor
    relit: Tensor
    modeled: Tensor


class Truth:
    """The scene's materials by patch: `albedo` (400, 3), `specular` (400, 1), `glow` (400, 3), `modeled` (400,) where nothing glows."""

    def __init__(self) -> None:
        self.centers = fibonacci(PATCHES)
        height = self.centers[:, 2]
        self.modeled = (height - RING_CENTER).abs() >= RING_HALF_WIDTH
        self.albedo = 0.5 + 0.35 * torch.sin(3 * self.centers)
        self.specular = torch.where(height > 0, 0.45, 0.25)[:, None]
        self.glow = (~self.modeled)[:, None] * torch.tensor(GLOW)
        self.projector = environment.projector(HEIGHT, WIDTH)
        self.light = self._light(LIGHT)

    @staticmethod
    def _light(spec: tuple[float, Lights]) -> Tensor:
        return environment.lobes(HEIGHT, WIDTH, ambient=spec[0], lights=spec[1]).flatten(0, 1)

    def shade(self, pixels: Pixels, light: Tensor) -> Tensor:
        """albedo · Irr / π + k_s · E(mirror direction), without the glow: (n, 3)."""
        mirrored = (pixels.weights[..., None] * light[pixels.corners]).sum(dim=1)
        diffuse = self.albedo[pixels.patch] * irradiance(pixels.normal_basis, self.projector @ light) / torch.pi
        return diffuse + self.specular[pixels.patch] * mirrored

    def view(self, split: str) -> Photos:
        """What a split's cameras see."""
        count, turned = CAMERAS[split]
        pixels = pixels_of(fibonacci(count, turned=turned), self.centers, size=SIZE, light=(HEIGHT, WIDTH))
        other = self._light(OTHER_LIGHTS[split])
        photos = self.shade(pixels, self.light) + self.glow[pixels.patch]
        return Photos(pixels, photos, other, self.shade(pixels, other), self.modeled[pixels.patch])
