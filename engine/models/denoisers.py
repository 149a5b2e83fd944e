"""Denoisers D(x, σ, y), and few-step generators, which are the same networks with levels."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from engine.diffusion import samplers
from engine.diffusion.denoiser import beside
from engine.diffusion.parameterization import preconditioning
from engine.diffusion.schedules import karras_grid


class Denoiser(nn.Module):
    """What the methods of generators work with: a network that is asked for D(x, σ, y) by calling it. A child writes `forward`, `features`,
    `integrate` and `integration_calls`.

    With `levels` it is a generator that makes a sample in as many evaluations, `transition` naming how it gets from one level to the next;
    without, a denoiser that is integrated over `sampler_steps` levels from sigma_max to sigma_min. `classes` counts what can be asked for, and is itself the number of the null condition. `width` counts
    the numbers in a row of `features`.
    """

    builder: ClassVar[str]

    def __init__(
        self,
        sizes: Mapping[str, Any],
        *,
        width: int,
        classes: int,
        sigma_data: float,
        levels: Sequence[float],
        sampler_steps: int,
        sigma_min: float,
        sigma_max: float,
        transition: samplers.Transition = "renoise",
    ) -> None:
        """`sizes` are the fields of the configuration that the network alone knows."""
        super().__init__()
        self._sizes = {**sizes, "sigma_data": sigma_data}
        self._grid = {"sampler_steps": sampler_steps, "sigma_min": sigma_min, "sigma_max": sigma_max}
        self.levels, self.transition = tuple(levels), transition
        self.width, self.classes, self.sigma_data = width, classes, sigma_data
        self.sampler_steps, self.sigma_min, self.sigma_max = sampler_steps, sigma_min, sigma_max

    def features(self, x: Tensor, sigma: Tensor, y: Tensor | None = None) -> Tensor:
        """What a discriminator's head stands on, (batch, width), for x (batch, …), sigma (batch,) and y (batch,) or None."""
        raise NotImplementedError

    def integrate(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Samples from unit noise (batch, …), along the denoiser's own grid."""
        raise NotImplementedError

    @property
    def integration_calls(self) -> int:
        """Calls of the network for one sample that is integrated."""
        raise NotImplementedError

    @property
    def evaluations(self) -> int:
        """Calls of the network for one sample."""
        return len(self.levels) or self.integration_calls

    def sample(self, noise: Tensor, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """Unit noise (batch, …) and labels (batch,) or None → samples. `generator` draws the noise between a generator's levels."""
        if self.levels:
            return samplers.few_step(self, noise, self.levels, labels, generator, kind=self.transition)
        return self.integrate(noise, labels)

    def recipe(self) -> dict[str, Any]:
        """How it is built again: `builder` and `config`, the levels and the transition between them included."""
        sampling = {"levels": list(self.levels), "transition": self.transition}
        return {"builder": self.builder, "config": {**self._sizes, **self._grid, **sampling}}

    def null_unless(self, y: Tensor | None, x: Tensor) -> Tensor:
        """y, or the null condition for each row of x where there is none."""
        return torch.full((len(x),), self.classes, dtype=torch.int64, device=x.device) if y is None else y


class EdmDenoiser(Denoiser):
    """One that is integrated as in EDM: Heun's method along the Karras grid."""

    def integrate(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        grid = karras_grid(self.sampler_steps, self.sigma_min, self.sigma_max)
        return samplers.heun(self, self.sigma_max * noise, grid, labels)

    @property
    def integration_calls(self) -> int:
        return 2 * self.sampler_steps - 1


class EdmMlp(EdmDenoiser):
    """EDM's preconditioning around a residual multilayer perceptron that sees noise level and class."""

    frequencies: Tensor
    builder = "edm_mlp"

    def __init__(self, *, inputs: int, width: int, blocks: int, classes: int, **common: Any) -> None:
        super().__init__({"inputs": inputs, "width": width, "blocks": blocks, "classes": classes}, width=width, classes=classes, **common)
        self.enter = nn.Linear(inputs, width)
        self.level = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(classes + 1, width)
        self.blocks = nn.ModuleList(PerceptronBlock(width) for _ in range(blocks))
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
        """What the last layer reads."""
        rows = x.flatten(1)
        _, _, scale, level = preconditioning(sigma, self.sigma_data)
        angle = level[:, None] * self.frequencies
        embedded = self.level(torch.cat([angle.sin(), angle.cos()], dim=1)) + self.label(self.null_unless(y, x))
        condition = nn.functional.silu(embedded)
        hidden: Tensor = self.enter(scale[:, None] * rows)
        for block in self.blocks:
            hidden = block(hidden, condition)
        return hidden


class PerceptronBlock(nn.Module):
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
