"""Distribution matching distillation as plain functions: what the methods around DMD share.

A generator's samples x are renoised, and two denoisers say what the clean example was: `real`, the frozen teacher, and `fake`, which is
trained on the generator's own samples. Their difference is the direction in which the generator's distribution leaves the teacher's.
Yin et al. (2023), arXiv:2311.18828 (DMD); Yin et al. (2024), arXiv:2405.14867 (DMD2). x is (batch, …), levels σ (batch,), classes (batch,).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.diffusion.denoiser import beside


def drawn_indices(count: int, levels: int, *, low: float = 0.0, high: float = 1.0, generator: torch.Generator) -> Tensor:
    """Indices (count,) int64 into a table of `levels`, uniform between the shares low and high of it, both included: 20 … 980 of 1000.

    With 0 and 1 that is the whole table.
    """
    first, last = round(low * levels), min(round(high * levels), levels - 1)
    return torch.randint(first, last + 1, (count,), generator=generator, device=generator.device)


def renoised(x: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """x + σ·n."""
    return x + beside(sigma, x) * noise


def direction(x: Tensor, *, real: Tensor, fake: Tensor, eps: float = 0.0) -> tuple[Tensor, Tensor]:
    """(D_fake − D_real) / mean|x − D_real|, the mean over each example's entries: the gradient of a sample, equations 7 and 8 of DMD.

    `real` is the prediction with guidance. What a division by zero leaves is set to 0; the share of such entries is returned beside it. All
    are taken as constants.
    """
    x, real, fake = x.detach(), real.detach(), fake.detach()
    scale = (x - real).abs().flatten(1).mean(dim=1) + eps
    raw = (fake - real) / beside(scale, x)
    return raw.nan_to_num(0.0, posinf=0.0, neginf=0.0), (~raw.isfinite()).float().mean()


def matching_loss(x: Tensor, toward: Tensor) -> Tensor:
    """½·mean (x − sg(x − g))², whose gradient in x is g divided by the number of entries."""
    return 0.5 * F.mse_loss(x, (x - toward).detach())


def critic_loss(*, real: Tensor, fake: Tensor) -> Tensor:
    """softplus(l_fake) + softplus(−l_real), means over the batch: the discriminator's logits of samples and of real examples."""
    return F.softplus(fake).mean() + F.softplus(-real).mean()


def deceiving_loss(fake: Tensor) -> Tensor:
    """softplus(−l_fake), mean over the batch: what the generator wants."""
    return F.softplus(-fake).mean()


class DiscriminatorHead(nn.Module):
    """A discriminator on the features of a denoiser: one logit an example."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(batch, width) → (batch,)."""
        logits: Tensor = self.body(features)
        return logits.squeeze(1).float()


def add_by_bin(sums: Tensor, values: Tensor, indices: Tensor, *, levels: int, keep: float = 0.99) -> Tensor:
    """Sums and counts (2, bins) of values (batch,) by the bin of their level's index, the earlier ones fading by `keep`."""
    bins = (indices * sums.shape[1]) // levels
    return keep * sums + torch.stack(
        [
            torch.zeros_like(sums[0]).index_add(0, bins, values.to(sums)),
            torch.zeros_like(sums[0]).index_add(0, bins, torch.ones_like(values).to(sums)),
        ]
    )
