"""The turns that the methods around distribution matching distillation share: Yin et al. (2024), arXiv:2405.14867 (DMD2), sections 4.2 to 4.5.

A step of the run is one turn of the generator and then R turns of the fake, which has to keep up with it. Each has its own optimizer and step
size. A discriminator on the fake's features learns in the fake's turns, and is deceived in the generator's.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.diffusion.generators import Samples, begin, drawn_classes, drawn_rows, drawn_samples, trainable_copy, variance_warning
from engine.diffusion.levels import architecture_name
from engine.diffusion.matching import DiscriminatorHead, critic_loss, deceiving_loss, renoised
from engine.diffusion.parameterization import edm_loss
from engine.diffusion.settings import DistributionMatchingSettings
from engine.method import Batch, Logs, Method, Phase
from engine.models.denoisers import Denoiser
from engine.seeds import derived_seed

Terms = dict[str, Tensor]


class DistributionMatching(Method):
    """The parent. A child writes `generator_loss` and `drawn_levels`, and its own state after `super().build()`. It may write the other hooks, and
    nothing else of this class.

    `student` is the generator, `real` the frozen teacher, `fake` what is trained on the generator's own samples, `head` the discriminator's
    head on the fake's features, None without a gan_weight.
    """

    settings: DistributionMatchingSettings
    student: Denoiser

    # The hooks

    def generator_loss(self, made: Samples) -> tuple[Tensor, Terms]:
        """What moves the generator, without the discriminator's part, and the terms to log beside it."""
        raise NotImplementedError

    def drawn_levels(self, count: int) -> Tensor:
        """σ (count,), drawn where the fake is trained and the discriminator is asked."""
        raise NotImplementedError

    def new_fake(self) -> Denoiser:
        """The fake as it begins. What of it needs no gradient is left as it is: the base of an adapter."""
        return trainable_copy(self.real)

    def fits_fake(self) -> bool:
        """Whether the fake is trained on samples. If not, its turns are the discriminator's, or none."""
        return True

    def fake_loss(self, made: Samples) -> Tensor:
        """That of the fake on samples without gradient: the EDM loss, with the classes that they were made with."""
        sigma = self.drawn_levels(len(made.x))
        denoised = self.fake(renoised(made.x, sigma, self.unit_noise(made.x)), sigma, made.y)
        return edm_loss(denoised, made.x, sigma, self.fake.sigma_data).mean()

    def classes(self, count: int) -> Tensor | None:
        """Classes (count,) to make samples of."""
        return drawn_classes(self.student, count, random=self.generator)

    # The run

    def build(self) -> None:
        settings = self.settings
        self.student, self.real = begin(self.student, self.teacher, settings.levels, settings.start)
        self.fake = self.new_fake()
        self.head = DiscriminatorHead(self.fake.width).to(self.device) if settings.gan_weight > 0 else None
        self.optimizer = self.make_optimizer(self.student)
        self.fake_optimizer = self.make_optimizer(
            [*self.fake.parameters(), *([] if self.head is None else self.head.parameters())],
            settings.model_copy(update={"learning_rate": settings.fake_learning_rate}),
            steps=self.budget.steps * settings.fake_updates,
        )
        # Which of the generator's steps is trained decides what is run, so it is drawn on the CPU. With the seed of `generator` it would
        # repeat the numbers that the first classes are drawn with.
        self.places = torch.Generator().manual_seed(derived_seed(self.generator.initial_seed(), "places"))

    def phases(self) -> Iterator[Phase]:
        yield Phase("distill", self.step, self.budget.steps, data=None)

    def step(self, batch: Batch) -> Logs:
        terms = self.generator_turn()
        turns = self.settings.fake_updates if self.fits_fake() or self.head is not None else 0
        return terms | means([self.fake_turn() for _ in range(turns)])

    def generator_turn(self) -> Terms:
        """One update of the generator, and where there is a discriminator, against it."""
        made = self.samples()
        total, terms = self.generator_loss(made)
        if self.head is not None:
            terms["loss/deceiving"] = deceiving = deceiving_loss(self.logits(made.x, made.y))
            total = total + self.settings.gan_weight * deceiving
        self.update(self.optimizer, total)
        return {"loss": total, **terms}

    def fake_turn(self) -> Terms:
        """One update of the fake on samples of the generator as it is now, and of the discriminator where there is one."""
        with torch.no_grad():
            made = self.samples()
        total, terms = torch.zeros((), device=self.device), Terms()
        if self.fits_fake():
            terms["loss/fake"] = fitting = self.fake_loss(made)
            total = total + fitting
        if self.head is not None:
            real, labels = drawn_rows(self.task.splits["train"], len(made.x), random=self.generator)
            terms["loss/critic"] = critic = critic_loss(real=self.logits(real, labels), fake=self.logits(made.x, made.y))
            total = total + self.settings.critic_weight * critic
        self.update(self.fake_optimizer, total)
        return terms

    def logits(self, x: Tensor, y: Tensor | None) -> Tensor:
        """The discriminator's (batch,), of x renoised at `drawn_levels`."""
        assert self.head is not None, "only a run with a gan_weight has a discriminator"
        sigma = self.drawn_levels(len(x))
        logits: Tensor = self.head(self.fake.features(renoised(x, sigma, self.unit_noise(x)), sigma, y))
        return logits

    # What is drawn

    def samples(self) -> Samples:
        """Of one step of the generator, with gradient."""
        count, shape = self.settings.batch_size, self.task.card.input_shape
        return drawn_samples(self.student, self.classes(count), count, shape, random=self.generator, places=self.places)

    def unit_noise(self, x: Tensor) -> Tensor:
        """In the shape of x."""
        return torch.randn(x.shape, generator=self.generator, device=self.device)

    # What is shown

    def blueprint(self) -> Mapping[str, Any]:
        return {**self.student.recipe(), "architecture": architecture_name(self.student.levels)}

    def warn_of_collapse(self) -> None:
        """Logs a line when the samples' variance leaves the data's."""
        if (warning := variance_warning(self.student, self.task)) is not None:
            self.log(warning)


def means(turns: Sequence[Terms]) -> Terms:
    """The mean of each term over turns, which have the same ones; nothing of no turns."""
    return {name: torch.stack([turn[name] for turn in turns]).mean() for name in turns[0]} if turns else {}
