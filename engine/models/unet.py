"""A small U-Net as denoiser and few-step generator of pictures. Those of diffusers come with an optional extra, and none is this small."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.diffusion.denoiser import beside
from engine.diffusion.parameterization import preconditioning
from engine.models.denoisers import EdmDenoiser

FREQUENCIES = 16
GROUPS = 8


class EdmUnet(EdmDenoiser):
    """EDM's preconditioning around a U-Net: one residual block a scale on the way down, one in the middle, one a scale on the way up.

    `widths` are the channels of each scale, multiples of 8; every scale after the first halves height and width, rounded up. Noise level and
    class shift the channels inside each block. Ronneberger et al. (2015), arXiv:1505.04597; the conditioning is that of Ho et al. (2020),
    arXiv:2006.11239, without attention.
    """

    frequencies: Tensor
    builder = "edm_unet"

    def __init__(self, *, channels: int, widths: Sequence[int], classes: int, **common: Any) -> None:
        sizes = {"channels": channels, "widths": list(widths), "classes": classes}
        super().__init__(sizes, width=widths[-1], classes=classes, **common)
        condition = 4 * widths[0]
        self.level = nn.Sequential(nn.Linear(2 * FREQUENCIES, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.label = nn.Embedding(classes + 1, condition)
        self.enter = nn.Conv2d(channels, widths[0], 3, padding=1)
        before = [widths[0], *widths[:-1]]
        self.down = nn.ModuleList(ResidualBlock(into, out, condition) for into, out in zip(before, widths, strict=True))
        self.halve = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for width in widths[:-1])
        self.middle = ResidualBlock(widths[-1], widths[-1], condition)
        self.up = nn.ModuleList(
            ResidualBlock(below + beside_it, out, condition)
            for below, beside_it, out in zip(reversed(widths), reversed(widths), reversed(before), strict=True)
        )
        self.norm = nn.GroupNorm(GROUPS, widths[0])
        self.leave = nn.Conv2d(widths[0], channels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None, "the last convolution has a bias"
        nn.init.zeros_(self.leave.bias)
        self.register_buffer("frequencies", torch.logspace(0, 2, FREQUENCIES), persistent=False)

    def forward(self, x: Tensor, sigma: Tensor, y: Tensor | None = None) -> Tensor:
        """D(x, σ, y) of pictures x (batch, channels, height, width) → x's shape. Karras et al. (2022), table 1."""
        skip, out, _, _ = preconditioning(sigma, self.sigma_data)
        condition = self._condition(sigma, y, x)
        scales = self._down(x, sigma, condition)
        hidden = self.middle(scales[-1], condition)
        for block, scale in zip(self.up, reversed(scales), strict=True):
            hidden = F.interpolate(hidden, size=scale.shape[-2:], mode="nearest")
            hidden = block(torch.cat([hidden, scale], dim=1), condition)
        raw = self.leave(F.silu(self.norm(hidden)))
        denoised: Tensor = beside(skip, x) * x + beside(out, x) * raw
        return denoised

    def features(self, x: Tensor, sigma: Tensor, y: Tensor | None = None) -> Tensor:
        """The middle of the U-Net, averaged over height and width: where DMD2 puts its discriminator."""
        condition = self._condition(sigma, y, x)
        hidden: Tensor = self.middle(self._down(x, sigma, condition)[-1], condition)
        return hidden.mean(dim=(2, 3))

    def _condition(self, sigma: Tensor, y: Tensor | None, x: Tensor) -> Tensor:
        """(batch, 4·widths[0]) of level and class."""
        angle = preconditioning(sigma, self.sigma_data)[3][:, None] * self.frequencies
        embedded = self.level(torch.cat([angle.sin(), angle.cos()], dim=1)) + self.label(self.null_unless(y, x))
        return F.silu(embedded)

    def _down(self, x: Tensor, sigma: Tensor, condition: Tensor) -> list[Tensor]:
        """The way down: what each scale holds, the finest first."""
        hidden = self.enter(beside(preconditioning(sigma, self.sigma_data)[2], x) * x)
        scales: list[Tensor] = []
        for number, block in enumerate(self.down):
            hidden = block(hidden if number == 0 else self.halve[number - 1](hidden), condition)
            scales.append(hidden)
        return scales


class ResidualBlock(nn.Module):
    """x' + conv(silu(norm(conv(silu(norm(x))) + W·e))), x' being x with as many channels as leave."""

    def __init__(self, channels: int, out: int, condition: int) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(GROUPS, channels)
        self.first = nn.Conv2d(channels, out, 3, padding=1)
        self.condition = nn.Linear(condition, out)
        self.second_norm = nn.GroupNorm(GROUPS, out)
        self.second = nn.Conv2d(out, out, 3, padding=1)
        self.skip = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (batch, channels, height, width) and condition (batch, …) → (batch, out, height, width)."""
        hidden = self.first(F.silu(self.first_norm(x))) + self.condition(condition)[:, :, None, None]
        left: Tensor = self.skip(x) + self.second(F.silu(self.second_norm(hidden)))
        return left


def edm_unet(**config: Any) -> EdmUnet:
    """See `EdmUnet`. Weights are PyTorch's default initialization, the last convolution 0: an untrained network predicts c_skip·x."""
    return EdmUnet(**config)
