"""Denoisers D(x, σ, y), and few-step generators, which are the same networks with levels."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.diffusion import samplers
from engine.diffusion.denoiser import beside
from engine.diffusion.parameterization import preconditioning
from engine.diffusion.schedules import karras_grid


class EdmMlp(nn.Module):
    """EDM's preconditioning around a residual multilayer perceptron that sees noise level and class.

    With `levels` it is a generator that makes a sample in as many evaluations; without, a denoiser that is integrated by Heun's method from
    sigma_max to sigma_min in `sampler_steps` steps. Class number `classes` is the null condition.
    """

    frequencies: Tensor

    def __init__(
        self,
        *,
        inputs: int,
        width: int,
        blocks: int,
        classes: int,
        sigma_data: float,
        levels: Sequence[float],
        sampler_steps: int,
        sigma_min: float,
        sigma_max: float,
    ) -> None:
        super().__init__()
        self._sizes = {"inputs": inputs, "width": width, "blocks": blocks, "classes": classes, "sigma_data": sigma_data}
        self._grid = {"sampler_steps": sampler_steps, "sigma_min": sigma_min, "sigma_max": sigma_max}
        self.levels = tuple(levels)
        self.classes, self.sigma_data, self.sigma_min, self.sigma_max = classes, sigma_data, sigma_min, sigma_max
        self.sampler_steps = sampler_steps
        self.enter = nn.Linear(inputs, width)
        self.level = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(classes + 1, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, inputs)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)
        self.register_buffer("frequencies", torch.logspace(0, 2, FREQUENCIES), persistent=False)

    def forward(self, x: Tensor, sigma: Tensor, y: Tensor | None = None) -> Tensor:
        """D(x, σ, y): x (batch, …), sigma (batch,), y (batch,) int64 or None for the null condition → the clean example, in x's shape.

        Karras et al. (2022), table 1: c_skip·x + c_out·F(c_in·x, ln(σ)/4).
        """
        skip, out, _, _ = preconditioning(sigma, self.sigma_data)
        hidden = self.features(x, sigma, y)
        denoised: Tensor = beside(skip, x) * x + beside(out, x) * self.leave(self.norm(hidden)).reshape(x.shape)
        return denoised

    def features(self, x: Tensor, sigma: Tensor, y: Tensor | None = None) -> Tensor:
        """What the last layer reads, (batch, width): a discriminator's head stands here."""
        rows = x.flatten(1)
        if y is None:
            y = torch.full((len(x),), self.classes, dtype=torch.int64, device=x.device)
        _, _, scale, level = preconditioning(sigma, self.sigma_data)
        angle = level[:, None] * self.frequencies
        condition = nn.functional.silu(self.level(torch.cat([angle.sin(), angle.cos()], dim=1)) + self.label(y))
        hidden: Tensor = self.enter(scale[:, None] * rows)
        for block in self.blocks:
            hidden = block(hidden, condition)
        return hidden

    @property
    def width(self) -> int:
        """Numbers in a row of `features`."""
        return int(self._sizes["width"])

    @property
    def evaluations(self) -> int:
        """Calls of the network for one sample."""
        return len(self.levels) or 2 * self.sampler_steps - 1

    def sample(self, noise: Tensor, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """Unit noise (batch, …) and labels (batch,) or None → samples. `generator` draws the noise between a generator's levels."""
        if self.levels:
            return samplers.few_step(self, noise, self.levels, labels, generator)
        grid = karras_grid(self.sampler_steps, self.sigma_min, self.sigma_max)
        return samplers.heun(self, self.sigma_max * noise, grid, labels)

    def recipe(self) -> dict[str, Any]:
        """How it is built again: `builder` and `config`, the levels included."""
        return {"builder": "edm_mlp", "config": {**self._sizes, **self._grid, "levels": list(self.levels)}}


class Block(nn.Module):
    """h + W₂·silu(W₁·LayerNorm(h) + W_e·e)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.condition = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """hidden and condition (batch, width) → (batch, width)."""
        update: Tensor = self.outer(nn.functional.silu(self.inner(self.norm(hidden)) + self.condition(condition)))
        return hidden + update


FREQUENCIES = 16


def edm_mlp(**config: Any) -> EdmMlp:
    """See `EdmMlp`. Weights are PyTorch's default initialization, the last layer 0: an untrained network predicts c_skip·x."""
    return EdmMlp(**config)
