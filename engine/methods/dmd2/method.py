"""Distribution matching distillation without a regression set: Yin, Gharbi, Park, Zhang, Shechtman, Durand & Freeman (2024), arXiv:2405.14867.

The generator follows the difference between two denoisers on its own samples, renoised: the teacher, and a fake that learns these samples. The
turns of both, the discriminator and the steps of the generator are those of `DistributionMatching`.
"""

import torch
from torch import Tensor

from engine.diffusion.denoiser import guided
from engine.diffusion.distribution_matching import DistributionMatching, Terms
from engine.diffusion.generators import Samples
from engine.diffusion.matching import add_by_bin, direction, drawn_indices, matching_loss, renoised
from engine.diffusion.schedules import karras_table
from engine.method import Diagnostics
from engine.methods.dmd2.card import Settings, card
from engine.methods.dmd2.charts import BINS, direction_by_level


class DMD2(DistributionMatching):
    card = card
    settings: Settings

    def build(self) -> None:
        super().build()
        self.table = karras_table(self.real.sigma_min, self.real.sigma_max).float().to(self.device)
        self.by_level = torch.zeros(2, BINS, device=self.device)

    def generator_loss(self, made: Samples) -> tuple[Tensor, Terms]:
        """½·mean (x − sg(x − g))², with g at levels of the middle of the table."""
        low, high = self.settings.level_low, self.settings.level_high
        indices = drawn_indices(len(made.x), len(self.table), low=low, high=high, generator=self.generator)
        g, replaced = self.direction(made.x, self.table[indices], made.y)
        loss = matching_loss(made.x, g)
        size = g.abs()
        self.by_level = add_by_bin(self.by_level, size.flatten(1).mean(dim=1), indices, levels=len(self.table))
        return loss, {"loss/matching": loss, "direction": size.mean(), "replaced": replaced}

    @torch.no_grad()
    def direction(self, x: Tensor, sigma: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """g and the share of it that wasn't finite, at levels sigma (batch,). Guidance is on the teacher only."""
        x_t = renoised(x, sigma, self.unit_noise(x))
        real = guided(self.real, self.settings.guidance)(x_t, sigma, y)
        return direction(x, real=real, fake=self.fake(x_t, sigma, y), eps=self.settings.normalizer_eps)

    def drawn_levels(self, count: int) -> Tensor:
        """From the whole table."""
        return self.table[drawn_indices(count, len(self.table), generator=self.generator)]

    def diagnostics(self) -> Diagnostics:
        """The size of the direction by noise level."""
        self.warn_of_collapse()
        return Diagnostics(tables={"direction_by_level": direction_by_level(self.by_level, self.table)})
