"""A scene of opaque patches on the unit sphere with two ways to be drawn: as a radiance field, and by light and material."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.rendering import environment
from engine.rendering.cameras import Pixels, fibonacci
from engine.rendering.deferred import blend
from engine.rendering.harmonics import TERMS, irradiance

LIGHT_START, SPECULAR_START, SPREAD = -1.0, -1.0, 0.1


class Rendering(NamedTuple):
    """What the pixels of a view show, a row a pixel: colors (n, 3), `progress` and `specular` (n, 1). Linear, not clamped."""

    raw: Tensor
    diffuse: Tensor
    reflected: Tensor
    progress: Tensor
    albedo: Tensor
    specular: Tensor

    @property
    def physical(self) -> Tensor:
        """I_phy = I_diff + I_spec."""
        return self.diffuse + self.reflected

    @property
    def image(self) -> Tensor:
        """The blend (1 − A) I_raw + A I_phy."""
        return blend(raw=self.raw, physical=self.physical, progress=self.progress)


class SurfelScene(nn.Module):
    """Patches around the nearest of Fibonacci's points, each with a view-dependent color, albedo, reflectivity and progress, and one light.

    Parameters: `radiance` (patches, 9, 3), coefficients of the color in the ray's direction; `light` (height·width, 3) through softplus;
    `albedo_logits` (patches, 3) and `specular_logits` (patches, 1) through a sigmoid; `progress_logits` (patches, 1), and
    `mirror_progress_logits` for a stage that distills reflections alone. With `fixed_progress` every patch has that one.
    """

    projector: Tensor
    centers: Tensor

    def __init__(self, *, patches: int, height: int, width: int, start: float, fixed_progress: float | None) -> None:
        super().__init__()
        self.fixed_progress = fixed_progress
        self.size = (height, width)
        self.radiance = nn.Parameter(torch.zeros(patches, TERMS, 3))
        self.light = nn.Parameter(LIGHT_START + SPREAD * torch.randn(height * width, 3))
        self.albedo_logits = nn.Parameter(SPREAD * torch.randn(patches, 3))
        self.specular_logits = nn.Parameter(SPECULAR_START + SPREAD * torch.randn(patches, 1))
        logit = torch.logit(torch.tensor(start))
        self.progress_logits = nn.Parameter(logit.repeat(patches, 1))
        self.mirror_progress_logits = nn.Parameter(logit.repeat(patches, 1))
        self.register_buffer("projector", environment.projector(height, width), persistent=False)
        self.register_buffer("centers", fibonacci(patches), persistent=False)

    @property
    def environment(self) -> Tensor:
        """The light of all directions, (height·width, 3), positive."""
        return F.softplus(self.light)

    @property
    def albedo(self) -> Tensor:
        """(patches, 3) in (0, 1)."""
        return self.albedo_logits.sigmoid()

    @property
    def progress(self) -> Tensor:
        """p of each patch, (patches, 1) in [0, 1]."""
        if self.fixed_progress is not None:
            return torch.full_like(self.progress_logits, self.fixed_progress)
        return self.progress_logits.sigmoid()

    def raw(self, pixels: Pixels) -> Tensor:
        """The radiance field's image, (n, 3)."""
        colors = self.radiance.flatten(1).index_select(0, pixels.patch).view(-1, TERMS, 3)
        return (pixels.view_basis[..., None] * colors).sum(dim=1)

    def irradiance(self, pixels: Pixels, light: Tensor) -> Tensor:
        """What falls on each pixel's point from `light` (height·width, 3): (n, 3)."""
        return irradiance(pixels.normal_basis, self.projector @ light)

    def render(self, pixels: Pixels, light: Tensor | None = None) -> Rendering:
        """All images of the pixels, under the scene's own light or another one (height·width, 3).

        A pixel shows one patch, so that its progress is A and its own point the normal: I_diff = B/π · Irr(N), I_spec = k_s · E(r) with the
        mirror direction r.
        """
        light = self.environment if light is None else light
        albedo = self.albedo.index_select(0, pixels.patch)
        specular = self.specular_logits.sigmoid().index_select(0, pixels.patch)
        mirrored = light.index_select(0, pixels.corners.flatten()).view(-1, 4, 3)
        return Rendering(
            raw=self.raw(pixels),
            diffuse=albedo / torch.pi * self.irradiance(pixels, light),
            reflected=specular * (pixels.weights[..., None] * mirrored).sum(dim=1),
            progress=self.progress.index_select(0, pixels.patch),
            albedo=albedo,
            specular=specular,
        )


def surfel_scene(*, patches: int, height: int, width: int, start: float, fixed_progress: float | None) -> SurfelScene:
    """A scene that shows nothing yet: a black radiance field, gray material, dim light, and progress `start`."""
    return SurfelScene(patches=patches, height=height, width=width, start=start, fixed_progress=fixed_progress)
