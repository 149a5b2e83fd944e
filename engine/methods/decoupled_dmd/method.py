"""Decoupled DMD: "CFG Augmentation as the Spear, Distribution Matching as the Shield" (2025), arXiv:2511.22677.

With guidance on the teacher, the direction of DMD is the sum of two: matching, real(c) − fake(c), and augmentation, (a − 1)·(real(c) −
real(∅)). Each gets noise levels of its own.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from engine.charts import heatmap
from engine.diffusion.generators import Samples, begin, drawn_rows, drawn_samples, variance_warning
from engine.diffusion.levels import architecture_name
from engine.diffusion.matching import Head, critic_loss, deceiving_loss, renoised
from engine.diffusion.parameterization import edm_loss
from engine.diffusion.schedules import share_of_sigma, sigma_of_share
from engine.method import Batch, Diagnostics, Logs, Method, Phase
from engine.methods.decoupled_dmd.card import Settings, card
from engine.methods.decoupled_dmd.directions import Margins, augmentation, drawn_share, matching, moment_loss, normalized, pulled
from engine.models.denoisers import Denoiser

BINS = 20
KEEP = 0.98
"""What is left of the terms' sizes after a step: they are shown as means over about fifty."""


class DecoupledDMD(Method):
    card = card
    settings: Settings
    student: Denoiser

    def build(self) -> None:
        settings = self.settings
        self.student, self.real, self.fake = begin(self.student, self.teacher, settings.levels, settings.start)
        self.head = Head(self.fake.width).to(self.device) if settings.gan_weight > 0 else None
        self.margins = Margins(settings.share_low, settings.share_high, settings.time_shift)
        self.optimizer = self.make_optimizer(self.student)
        critics = [*self.fake.parameters(), *([] if self.head is None else self.head.parameters())]
        self.fake_optimizer = self.make_optimizer(
            critics,
            settings.model_copy(update={"learning_rate": settings.fake_learning_rate}),
            steps=self.budget.steps * settings.fake_updates,
        )
        self.places = torch.Generator().manual_seed(self.generator.initial_seed())  # on the CPU: which step is trained decides what is run
        rows = self.task.splits["train"].inputs.flatten(1)
        measured = (float(rows.mean()), float(rows.var(dim=1, correction=0).mean()))
        self.targets = [
            measured[0] if settings.mean_target is None else settings.mean_target,
            measured[1] if settings.variance_target is None else settings.variance_target,
        ]
        self.sizes = torch.zeros(2, device=self.device)
        self.drawn = torch.zeros(2, len(settings.levels), BINS, device=self.device)
        self.late = torch.zeros((), device=self.device)

    def phases(self) -> Iterator[Phase]:
        yield Phase("distill", self.step, self.budget.steps, data=None)

    def step(self, batch: Batch) -> Logs:
        terms = self.generator_turn()
        if self.settings.regularizer != "matching" and self.head is None:
            return terms  # nothing to keep up with the generator
        turns = [self.fake_turn() for _ in range(self.settings.fake_updates)]
        return terms | {name: torch.stack([turn[name] for turn in turns]).mean() for name in turns[0]}

    # The generator

    def generator_turn(self) -> dict[str, Tensor]:
        """One update along both directions, or with what stands in for one of them."""
        settings, made = self.settings, self.samples()
        x = made.x
        ca, dm = self.directions(made)
        terms = {"size/augmentation": ca.abs().mean(), "size/matching": dm.abs().mean()}
        apart = (ca, dm) if settings.normalize else (ca + dm,)
        terms["loss/directions"] = total = pulled(x, *apart, balance=settings.balance)
        if settings.regularizer == "mean_var":
            terms["loss/mean_var"] = held = moment_loss(x, mean=self.targets[0], variance=self.targets[1])
            total = total + held
        if self.head is not None:
            terms["loss/deceiving"] = deceiving = deceiving_loss(self.logits(x, made.y))
            total = total + settings.gan_weight * deceiving
        self.update(self.optimizer, total)
        self.sizes = KEEP * self.sizes + (1 - KEEP) * torch.stack([terms["size/augmentation"], terms["size/matching"]])
        return {"loss": total, **terms}

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
        if settings.regularizer == "matching":
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

    # The fake denoiser and the discriminator on it

    def fake_turn(self) -> dict[str, Tensor]:
        """One update of the fake on samples of the generator as it is now, over all levels; of the discriminator too where there is one."""
        with torch.no_grad():
            made = self.samples()
        x, terms, total = made.x, dict[str, Tensor](), torch.zeros((), device=self.device)
        if self.settings.regularizer == "matching":
            sigma = self.any_levels(len(x))
            denoised = self.fake(renoised(x, sigma, self.unit_noise(x)), sigma, made.y)
            terms["loss/fake"] = fitting = edm_loss(denoised, x, sigma, self.fake.sigma_data).mean()
            total = total + fitting
        if self.head is not None:
            real, labels = drawn_rows(self.task.splits["train"], len(x), random=self.generator)
            terms["loss/critic"] = critic = critic_loss(real=self.logits(real, labels), fake=self.logits(x, made.y))
            total = total + self.settings.critic_weight * critic
        self.update(self.fake_optimizer, total)
        return terms

    def logits(self, x: Tensor, y: Tensor | None) -> Tensor:
        """The discriminator's (batch,), of x renoised at any levels."""
        assert self.head is not None, "only a run with a gan_weight has a discriminator"
        sigma = self.any_levels(len(x))
        logits: Tensor = self.head(self.fake.features(renoised(x, sigma, self.unit_noise(x)), sigma, y))
        return logits

    # What is drawn

    def samples(self) -> Samples:
        """Of one step of the generator, with gradient."""
        return drawn_samples(self.student, self.settings.batch_size, self.task.card.input_shape, random=self.generator, places=self.places)

    def any_levels(self, count: int) -> Tensor:
        """σ (count,) with shares of noise over the whole range."""
        return sigma_of_share(drawn_share(count, self.margins, below=None, generator=self.generator))

    def unit_noise(self, x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=self.generator, device=self.device)

    # What is shown

    def note_levels(self, place: int, shares: tuple[Tensor, Tensor]) -> None:
        """Counts which shares were drawn at a step of the generator, and how many of the augmentation's were not below it."""
        here = self.student.levels[place] / (1 + self.student.levels[place])
        for term, share in enumerate(shares):
            bins = (share * BINS).long().clamp(max=BINS - 1)
            self.drawn[term, place].index_add_(0, bins, torch.ones_like(share))
        self.late += (shares[0] >= here).sum()

    def blueprint(self) -> dict[str, Any]:
        return {**self.student.recipe(), "architecture": architecture_name(self.student.levels)}

    def diagnostics(self) -> Diagnostics:
        """The terms' share, the levels that were drawn; warns of a collapse and of a teacher that guidance gets nothing from."""
        if (warning := variance_warning(self.student, self.task)) is not None:
            self.log(warning)
        ca, dm = self.sizes.tolist()
        if self.settings.guidance > 1 and ca == 0 and self.position.step > 0:
            self.log("The augmentation is 0: the teacher says the same with and without a class, so guidance has nothing to give.")
        metrics = {"augmentation_share": ca / (ca + dm) if ca + dm > 0 else None, "late_levels": float(self.late) if self.below() else None}
        names = [f"σ = {level:.3g}" for level in self.student.levels]
        table = heatmap(
            "Noise levels drawn for each step of the generator",
            self.drawn.flatten(0, 1).int().tolist(),
            rows=[f"{term}, {name}" for term in ("augmentation", "matching") for name in names],
            columns=[f"{place / BINS:.2f}" for place in range(BINS)],
            x="share of noise, from",
            y="term and generator's input",
            note=f"The generator's own shares: {', '.join(f'{float(share_of_sigma(torch.tensor(level))):.2f}' for level in self.student.levels)}.",
        )
        return Diagnostics(metrics, {"levels_drawn": table})
