"""Distribution matching distillation without a regression set: Yin, Gharbi, Park, Zhang, Shechtman, Durand & Freeman (2024), arXiv:2405.14867.

One step of the run is one turn of the generator and then R turns of the fake denoiser, which has to keep up with it.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from engine.charts import bars
from engine.diffusion.denoiser import Denoise, guided
from engine.diffusion.generators import Samples, begin, drawn_rows, drawn_samples, variance_warning
from engine.diffusion.levels import architecture_name
from engine.diffusion.matching import (
    Head,
    add_by_bin,
    critic_loss,
    deceiving_loss,
    direction,
    drawn_indices,
    matching_loss,
    renoised,
)
from engine.diffusion.parameterization import edm_loss
from engine.diffusion.schedules import karras_table
from engine.method import Batch, Diagnostics, Logs, Method, Phase
from engine.methods.dmd2.card import Settings, card
from engine.models.denoisers import Denoiser

BINS = 10


class DMD2(Method):
    card = card
    settings: Settings
    student: Denoiser

    def build(self) -> None:
        settings = self.settings
        self.student, self.real, self.fake = begin(self.student, self.teacher, settings.levels, settings.start)
        self.head = Head(self.fake.width).to(self.device) if settings.gan_weight > 0 else None
        self.table = karras_table(self.real.sigma_min, self.real.sigma_max).float().to(self.device)
        self.optimizer = self.make_optimizer(self.student)
        critics = [*self.fake.parameters(), *([] if self.head is None else self.head.parameters())]
        self.fake_optimizer = self.make_optimizer(
            critics,
            settings.model_copy(update={"learning_rate": settings.fake_learning_rate}),
            steps=self.budget.steps * settings.fake_updates,
        )
        self.places = torch.Generator().manual_seed(self.generator.initial_seed())  # on the CPU: which step is trained decides what is run
        self.by_level = torch.zeros(2, BINS, device=self.device)

    def phases(self) -> Iterator[Phase]:
        yield Phase("distill", self.step, self.budget.steps, data=None)

    def step(self, batch: Batch) -> Logs:
        terms = self.generator_turn()
        turns = [self.fake_turn() for _ in range(self.settings.fake_updates)]
        return terms | {name: torch.stack([turn[name] for turn in turns]).mean() for name in turns[0]}

    # The generator

    def generator_turn(self) -> dict[str, Tensor]:
        """One update along the direction g of its samples, and where there is a discriminator, against it."""
        made = self.samples()
        x, y = made.x, made.y
        indices = drawn_indices(
            len(x), len(self.table), low=self.settings.level_low, high=self.settings.level_high, generator=self.generator
        )
        toward, replaced = self.direction(x, self.table[indices], y)
        loss = total = matching_loss(x, toward)
        terms = {"direction": toward.abs().mean(), "replaced": replaced}
        if self.head is not None:
            terms["loss/deceiving"] = deceiving = deceiving_loss(self.logits(x, y))
            total = loss + self.settings.gan_weight * deceiving
        self.update(self.optimizer, total)
        self.by_level = add_by_bin(self.by_level, toward.abs().flatten(1).mean(dim=1), indices, levels=len(self.table))
        return {"loss": total, "loss/matching": loss, **terms}

    @torch.no_grad()
    def direction(self, x: Tensor, sigma: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """g and the share of it that wasn't finite, at levels sigma (batch,). Guidance is on the teacher only."""
        x_t = renoised(x, sigma, self.unit_noise(x.shape))
        real: Denoise = guided(self.real, self.settings.guidance)
        return direction(x, real=real(x_t, sigma, y), fake=self.fake(x_t, sigma, y), eps=self.settings.normalizer_eps)

    # The fake denoiser and the discriminator on it

    def fake_turn(self) -> dict[str, Tensor]:
        """One update of the fake on samples of the generator as it is now: the EDM loss over the whole table."""
        with torch.no_grad():
            made = self.samples()
        x, y = made.x, made.y
        sigma = self.levels(len(x))
        loss = total = edm_loss(self.fake(renoised(x, sigma, self.unit_noise(x.shape)), sigma, y), x, sigma, self.fake.sigma_data).mean()
        terms = {"loss/fake": loss}
        if self.head is not None:
            real, labels = drawn_rows(self.task.splits["train"], len(x), random=self.generator)
            terms["loss/critic"] = critic = critic_loss(real=self.logits(real, labels), fake=self.logits(x, y))
            total = loss + self.settings.critic_weight * critic
        self.update(self.fake_optimizer, total)
        return terms

    def logits(self, x: Tensor, y: Tensor | None) -> Tensor:
        """The discriminator's (batch,), of x renoised at levels from the whole table."""
        assert self.head is not None, "only a run with a gan_weight has a discriminator"
        sigma = self.levels(len(x))
        logits: Tensor = self.head(self.fake.features(renoised(x, sigma, self.unit_noise(x.shape)), sigma, y))
        return logits

    # What is drawn

    def samples(self) -> Samples:
        """Of one step of the generator, with gradient."""
        return drawn_samples(self.student, self.settings.batch_size, self.task.card.input_shape, random=self.generator, places=self.places)

    def levels(self, count: int) -> Tensor:
        """σ (count,) from the whole table."""
        return self.table[drawn_indices(count, len(self.table), generator=self.generator)]

    def unit_noise(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)

    # What is shown

    def blueprint(self) -> dict[str, Any]:
        return {**self.student.recipe(), "architecture": architecture_name(self.student.levels)}

    def diagnostics(self) -> Diagnostics:
        """The size of the direction by noise level; says when the samples' variance leaves the data's."""
        if (warning := variance_warning(self.student, self.task)) is not None:
            self.log(warning)
        sums, counts = self.by_level.tolist()
        means = [total / count if count else None for total, count in zip(sums, counts, strict=True)]
        edges = [self.table[min(place * len(self.table) // BINS, len(self.table) - 1)].item() for place in range(BINS + 1)]
        names = [f"{low:.2g}–{high:.2g}" for low, high in zip(edges, edges[1:], strict=False)]
        note = "Means that fade over a hundred steps. Bins that grow tell of a fake that doesn't keep up."
        table = bars("Size of the direction by noise level", names, {"mean |g|": means}, x="noise level σ", y="mean |g|", note=note)
        return Diagnostics(tables={"direction_by_level": table})
