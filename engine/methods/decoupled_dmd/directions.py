"""The two parts of DMD's direction, the noise levels that they are computed at, and what may stand in for one of them.

The paper's time runs from 0, pure noise, to 1, clean data. Here a level is its share of noise, 1 − τ, so that "τ > t" is a share below that
of the generator's input. x (batch, …), shares (batch,).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.diffusion.denoiser import beside
from engine.diffusion.schedules import shifted
from engine.methods.decoupled_dmd.card import ROOM

NORMALIZER_EPS = 1e-8
SMALLEST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Margins:
    """Where shares of noise are drawn, before the shift."""

    low: float
    high: float
    shift: float = 1.0


def drawn_share(count: int, margins: Margins, *, below: float | None, generator: torch.Generator) -> Tensor:
    """Shares of noise (count,), uniform before the shift: between the margins, or with `below` (a share after the shift) under that one.

    An interval narrower than 0.01 is widened to that, so a generator that is nearly clean has room; a level of pure noise has all of it.
    """
    high = margins.high
    if below is not None:
        unshifted = below / (margins.shift - (margins.shift - 1) * below)
        high = min(margins.high, max(unshifted, margins.low + ROOM))
    uniform = torch.rand(count, generator=generator, device=generator.device)
    return shifted(margins.low + (high - margins.low) * uniform, margins.shift)


def augmentation(*, conditional: Tensor, unconditional: Tensor, guidance: float) -> Tensor:
    """D_CA = (a − 1)·(real(x, c) − real(x, ∅)): the teacher's guidance, with no fake in it."""
    return (guidance - 1) * (conditional - unconditional)


def matching(*, real: Tensor, fake: Tensor) -> Tensor:
    """D_DM = real(x, c) − fake(x, c): where the teacher is and the generator's samples are not."""
    return real - fake


def normalized(toward: Tensor, *, conditional: Tensor, x: Tensor) -> Tensor:
    """A direction over the teacher's mean error mean|real(x_τ, c) − x| of each sample, at that direction's own level."""
    scale = (conditional - x).abs().flatten(1).mean(dim=1) + NORMALIZER_EPS
    return toward / beside(scale, x)


def pulled(x: Tensor, *directions: Tensor, balance: float) -> Tensor:
    """Σ mean |x − sg(x + λ·D)|², whose gradient in x is −2λ·ΣD divided by the number of entries."""
    return torch.stack([F.mse_loss(x, (x + balance * toward).detach()) for toward in directions]).sum()


def moment_loss(x: Tensor, *, mean: float, variance: float) -> Tensor:
    """KL of the normal distribution with a sample's mean and variance (divisor n, over its entries) from N(mean, variance), mean over samples.

    0 where both agree. A constant sample has no logarithm: its variance is taken for 1e-12.
    """
    entries = x.flatten(1)
    found = entries.var(dim=1, correction=0).clamp(min=SMALLEST_VARIANCE)
    return (0.5 * ((found + (entries.mean(dim=1) - mean) ** 2) / variance - 1 - (found / variance).log())).mean()


def target_moments(examples: Tensor, *, mean: float | None, variance: float | None) -> list[float]:
    """The mean and the variance that `moment_loss` aims at: those given, or where None those of examples (rows, …), the variance within an
    example (divisor n) averaged over examples."""
    rows = examples.flatten(1)
    return [
        float(rows.mean()) if mean is None else mean,
        float(rows.var(dim=1, correction=0).mean()) if variance is None else variance,
    ]
