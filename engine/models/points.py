"""A small denoiser of points, for tasks of a few dimensions without classes."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.diffusion import samplers


class VpMlp(nn.Module):
    """A multilayer perceptron that predicts the clean point of a variance-preserving process with α = cos(πt/2), σ = sin(πt/2).

    It is asked in the convention inside, at x with noise σ_edm = tan(πt/2), and sees α·x and t. There are no skip connections around it: the
    network's output is the prediction. With `levels` it is a generator that makes a sample in as many evaluations; without, a denoiser that
    is integrated by DDIM over `sampler_steps` times, evenly from that of sigma_max to that of sigma_min. Ren et al. (2024),
    arXiv:2404.13686, trained on points; the network is ours.
    """

    frequencies: Tensor
    classes = 0

    def __init__(
        self,
        *,
        inputs: int,
        width: int,
        layers: int,
        sigma_data: float,
        levels: Sequence[float],
        sampler_steps: int,
        sigma_min: float,
        sigma_max: float,
    ) -> None:
        super().__init__()
        self._sizes = {"inputs": inputs, "width": width, "layers": layers, "sigma_data": sigma_data}
        self._grid = {"sampler_steps": sampler_steps, "sigma_min": sigma_min, "sigma_max": sigma_max}
        self.levels = tuple(levels)
        self.width, self.sigma_data, self.sampler_steps = width, sigma_data, sampler_steps
        self.sigma_min, self.sigma_max = sigma_min, sigma_max
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
        """What the last layer reads, (batch, width): a discriminator's head stands here."""
        angle = time_of(sigma)[:, None] * self.frequencies
        scaled = x.flatten(1) / (1 + sigma**2).sqrt()[:, None]
        hidden: Tensor = self.body(torch.cat([scaled, angle.sin(), angle.cos()], dim=1))
        return hidden

    @property
    def evaluations(self) -> int:
        """Calls of the network for one sample."""
        return len(self.levels) or self.sampler_steps

    def sample(self, noise: Tensor, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """Unit noise (batch, …) → samples. `generator` draws the noise between a generator's levels."""
        if self.levels:
            return samplers.few_step(self, noise, self.levels, labels, generator)
        first, last = time_of(torch.tensor([self.sigma_max, self.sigma_min], dtype=torch.float64)).tolist()
        grid = torch.tan(math.pi / 2 * torch.linspace(first, last, self.sampler_steps, dtype=torch.float64))
        return samplers.euler(self, self.sigma_max * noise, grid, labels)

    def recipe(self) -> dict[str, Any]:
        """How it is built again: `builder` and `config`, the levels included."""
        return {"builder": "vp_mlp", "config": {**self._sizes, **self._grid, "levels": list(self.levels)}}


FREQUENCIES = 8


def time_of(sigma: Tensor) -> Tensor:
    """σ_edm > 0 → t in (0, 1) with tan(πt/2) = σ_edm."""
    return sigma.atan() * (2 / math.pi)


def vp_mlp(**config: Any) -> VpMlp:
    """See `VpMlp`. Weights are PyTorch's default initialization."""
    return VpMlp(**config)
