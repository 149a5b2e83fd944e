"""A small denoiser of points, for tasks of a few dimensions without classes."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from engine.diffusion import samplers
from engine.models.denoisers import Denoiser


class VpMlp(Denoiser):
    """A multilayer perceptron that predicts the clean point of a variance-preserving process with α = cos(πt/2), σ = sin(πt/2).

    It is asked in the convention inside, at x with noise σ_edm = tan(πt/2), and sees α·x and t. There are no skip connections around it: the
    network's output is the prediction. A denoiser is integrated by DDIM over `sampler_steps` times, evenly from that of sigma_max to that of
    sigma_min. Ren et al. (2024), arXiv:2404.13686, trained on points; the network is ours.
    """

    frequencies: Tensor
    builder = "vp_mlp"

    def __init__(self, *, inputs: int, width: int, layers: int, **common: Any) -> None:
        super().__init__({"inputs": inputs, "width": width, "layers": layers}, width=width, classes=0, **common)
        widths = [inputs + 2 * FREQUENCIES, *[width] * layers]
        parts = [part for before, after in zip(widths, widths[1:], strict=False) for part in (nn.Linear(before, after), nn.SiLU())]
        self.body = nn.Sequential(*parts)
        self.leave = nn.Linear(width, inputs)
        self.register_buffer("frequencies", torch.linspace(0.5, 8, FREQUENCIES), persistent=False)

    def forward(self, x: Tensor, sigma: Tensor, y: Tensor | None = None) -> Tensor:
        """D(x, σ): x (batch, …), sigma (batch,) → the clean example, in x's shape. There are no classes, so y is not looked at."""
        prediction: Tensor = self.leave(self.features(x, sigma, y))
        return prediction.reshape(x.shape)

    def features(self, x: Tensor, sigma: Tensor, y: Tensor | None = None) -> Tensor:
        """What the last layer reads."""
        angle = time_of(sigma)[:, None] * self.frequencies
        scaled = x.flatten(1) / (1 + sigma**2).sqrt()[:, None]
        hidden: Tensor = self.body(torch.cat([scaled, angle.sin(), angle.cos()], dim=1))
        return hidden

    def integrate(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        first, last = time_of(torch.tensor([self.sigma_max, self.sigma_min], dtype=torch.float64)).tolist()
        grid = torch.tan(math.pi / 2 * torch.linspace(first, last, self.sampler_steps, dtype=torch.float64))
        return samplers.euler(self, self.sigma_max * noise, grid, labels)

    @property
    def integration_calls(self) -> int:
        return self.sampler_steps


FREQUENCIES = 8


def time_of(sigma: Tensor) -> Tensor:
    """σ_edm > 0 → t in (0, 1) with tan(πt/2) = σ_edm."""
    return sigma.atan() * (2 / math.pi)


def vp_mlp(**config: Any) -> VpMlp:
    """See `VpMlp`. Weights are PyTorch's default initialization."""
    return VpMlp(**config)
