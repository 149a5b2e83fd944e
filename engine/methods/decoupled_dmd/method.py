"""Decoupled DMD: "CFG Augmentation as the Spear, Distribution Matching as the Shield" (2025), arXiv:2511.22677.

With guidance on the teacher, the direction of DMD is the sum of two: matching, real(c) − fake(c), and augmentation, (a − 1)·(real(c) −
real(∅)). Each gets noise levels of its own. All else is as in `DistributionMatching`.
"""

import torch
from torch import Tensor

from engine.diffusion.distribution_matching import DistributionMatching, Terms
from engine.diffusion.generators import Samples
from engine.diffusion.matching import renoised
from engine.diffusion.schedules import sigma_of_share
from engine.method import Diagnostics
from engine.methods.decoupled_dmd.card import Settings, card
from engine.methods.decoupled_dmd.charts import BINS, NO_GUIDANCE, augmentation_share, counted, levels_drawn
from engine.methods.decoupled_dmd.directions import (
    Margins,
    augmentation,
    drawn_share,
    matching,
    moment_loss,
    normalized,
    pulled,
    target_moments,
)

KEEP = 0.98
"""What is left of the terms' sizes after a step: they are shown as means over about fifty."""


class DecoupledDMD(DistributionMatching):
    card = card
    settings: Settings

    def build(self) -> None:
        super().build()
        settings = self.settings
        self.margins = Margins(settings.share_low, settings.share_high, settings.time_shift)
        self.targets = target_moments(self.task.splits["train"].inputs, mean=settings.mean_target, variance=settings.variance_target)
        # What is watched: sizes of the two terms, the shares of noise drawn for each step, and the augmentation's that were not below it.
        self.sizes = torch.zeros(2, device=self.device)
        self.drawn = torch.zeros(2, len(settings.levels), BINS, device=self.device)
        self.late = torch.zeros((), device=self.device)

    def generator_loss(self, made: Samples) -> tuple[Tensor, Terms]:
        """Along both directions, or with what stands in for matching."""
        settings, x = self.settings, made.x
        ca, dm = self.directions(made)
        sizes = {"size/augmentation": ca.abs().mean(), "size/matching": dm.abs().mean()}
        self.sizes = KEEP * self.sizes + (1 - KEEP) * torch.stack(list(sizes.values()))
        apart = (ca, dm) if settings.normalize else (ca + dm,)
        loss = pulled(x, *apart, balance=settings.balance)
        terms = {**sizes, "loss/directions": loss}
        if settings.regularizer == "mean_var":
            terms["loss/mean_var"] = held = moment_loss(x, mean=self.targets[0], variance=self.targets[1])
            loss = loss + held
        return loss, terms

    @torch.no_grad()
    def directions(self, made: Samples) -> tuple[Tensor, Tensor]:
        """D_CA and D_DM of samples, normalized where asked for; 0 where guidance is 1, or where no matching is wanted."""
        settings, x, y = self.settings, made.x.detach(), made.y
        shares = self.shares(len(x), self.student.levels[made.place])
        noises = self.noises(x)
        self.note_levels(made.place, shares)
        ca, dm = torch.zeros_like(x), torch.zeros_like(x)
        if settings.guidance > 1:
            sigma = sigma_of_share(shares[0])
            x_t = renoised(x, sigma, noises[0])
            conditional = self.real(x_t, sigma, y)
            ca = augmentation(conditional=conditional, unconditional=self.real(x_t, sigma, None), guidance=settings.guidance)
            ca = normalized(ca, conditional=conditional, x=x) if settings.normalize else ca
        if self.fits_fake():
            sigma = sigma_of_share(shares[1])
            x_t = renoised(x, sigma, noises[1])
            conditional = self.real(x_t, sigma, y)
            dm = matching(real=conditional, fake=self.fake(x_t, sigma, y))
            dm = normalized(dm, conditional=conditional, x=x) if settings.normalize else dm
        return ca, dm

    def shares(self, count: int, level: float) -> tuple[Tensor, Tensor]:
        """Shares of noise (count,) of the augmentation and of the matching, for a generator's input of this level σ."""
        here = level / (1 + level)
        ca = drawn_share(count, self.margins, below=here if self.below() else None, generator=self.generator)
        if self.settings.schedule_of_levels == "coupled_shared":
            return ca, ca
        constrained = self.settings.schedule_of_levels == "decoupled_constrained"
        return ca, drawn_share(count, self.margins, below=here if constrained else None, generator=self.generator)

    def below(self) -> bool:
        """Whether the augmentation is computed at levels below the generator's only."""
        return self.settings.schedule_of_levels in ("decoupled_constrained", "decoupled_hybrid")

    def noises(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Unit noise of both terms, independent unless they are coupled."""
        first = self.unit_noise(x)
        return first, first if self.settings.schedule_of_levels == "coupled_shared" else self.unit_noise(x)

    def fits_fake(self) -> bool:
        return self.settings.regularizer == "matching"

    def drawn_levels(self, count: int) -> Tensor:
        """With shares of noise over the whole range."""
        return sigma_of_share(drawn_share(count, self.margins, below=None, generator=self.generator))

    # What is shown

    def note_levels(self, place: int, shares: tuple[Tensor, Tensor]) -> None:
        """Counts which shares were drawn at a step of the generator, and how many of the augmentation's were not below it."""
        here = self.student.levels[place] / (1 + self.student.levels[place])
        self.drawn[:, place] += counted(shares)
        self.late += (shares[0] >= here).sum()

    def diagnostics(self) -> Diagnostics:
        """The augmentation's share and the levels that were drawn; warns of a collapse and of a teacher that guidance gets nothing from."""
        self.warn_of_collapse()
        if self.settings.guidance > 1 and float(self.sizes[0]) == 0 and self.position.step > 0:
            self.log(NO_GUIDANCE)
        metrics = {"augmentation_share": augmentation_share(self.sizes), "late_levels": float(self.late) if self.below() else None}
        return Diagnostics(metrics, {"levels_drawn": levels_drawn(self.drawn, self.student.levels)})
