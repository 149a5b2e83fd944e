"""The one convention inside: an EDM denoiser D(x, σ, y), and what is judged as a sampler.

x (batch, …) is the clean example plus σ times unit noise, σ (batch,) > 0, y (batch,) int64 classes or None for the null condition. D is the
prediction of the clean example. A network with another parameterization is turned into this where it is built (`engine.models`).
"""

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""D(x, σ, y) → the predicted clean example, in x's shape."""


@runtime_checkable
class Sampler(Protocol):
    """What a task of samples judges, a denoiser and a few-step generator alike.

    `levels` are a generator's noise levels σ, descending; empty for a denoiser, which is integrated along its own grid. `transition` is how a
    generator gets from one level to the next (`engine.diffusion.samplers.transition`). `evaluations` are the calls of the network that one
    sample costs. Calling it is D(x, σ, y).
    """

    levels: tuple[float, ...]
    transition: Literal["renoise", "ancestral"]

    @property
    def evaluations(self) -> int:
        """Calls of the network for one sample."""

    def __call__(self, x: Tensor, sigma: Tensor, y: Tensor | None = None) -> Tensor:
        """D(x, σ, y)."""

    def sample(self, noise: Tensor, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """Unit noise (batch, …) → samples of that shape. `generator` draws what the sampler adds on its way."""


def beside(values: Tensor, x: Tensor) -> Tensor:
    """values (batch,) with as many axes as x (batch, …), to be broadcast against it."""
    return values.reshape(-1, *[1] * (x.dim() - 1))


def guided(denoise: Denoise, weight: float) -> Denoise:
    """Classifier-free guidance: D_u + w·(D_c − D_u), so that w = 1 is the conditional prediction and w = 0 the unconditional one.

    Ho & Salimans (2022), arXiv:2207.12598, who write 1 + w. With w = 1 the unconditional prediction is not made.
    """
    if weight == 1.0:
        return denoise

    def both(x: Tensor, sigma: Tensor, y: Tensor | None) -> Tensor:
        without = denoise(x, sigma, None)
        return without + weight * (denoise(x, sigma, y) - without)

    return both
