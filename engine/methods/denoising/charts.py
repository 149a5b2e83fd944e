"""The loss of a denoiser by noise level, with and without the class."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from engine.charts import ChartSpec, lines
from engine.diffusion.denoiser import Denoise
from engine.diffusion.parameterization import edm_loss


def losses_by_level(denoise: Denoise, clean: Tensor, noise: Tensor, y: Tensor | None, *, levels: Tensor, sigma_data: float) -> list[float]:
    """The mean EDM loss of clean rows (rows, …) with classes y (rows,) or None, at each of the levels (levels,), always with the same unit noise."""
    denoised = [denoise(clean + level * noise, level.expand(len(clean)), y) for level in levels]
    losses = [edm_loss(guess, clean, level, sigma_data).mean() for guess, level in zip(denoised, levels, strict=True)]
    found: list[float] = torch.stack(losses).tolist()
    return found


def loss_by_level(levels: Sequence[float], found: Mapping[str, Sequence[float]]) -> ChartSpec:
    """One line for each condition: its losses at the levels."""
    return lines(
        "Loss by noise level",
        {name: (list(levels), list(values)) for name, values in found.items()},
        x="noise level σ",
        y="weighted squared error, validation rows",
        log_x=True,
    )
