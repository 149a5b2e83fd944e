"""A diffusion model: Karras, Aittala, Aila & Laine (2022), arXiv:2206.00364, equation 8, with the label dropout of Ho & Salimans (2022),
arXiv:2207.12598, section 3.2."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from engine.diffusion.denoiser import beside
from engine.diffusion.parameterization import edm_loss, log_normal_levels
from engine.diffusion.schedules import geometric_grid
from engine.errors import SpecError
from engine.method import Batch, Diagnostics, Logs, Method, Phase
from engine.methods.denoising.card import Settings, card
from engine.methods.denoising.charts import loss_by_level, losses_by_level
from engine.models.denoisers import Denoiser

WARMUP_DECAY = 0.99
PROBED_LEVELS, PROBED_ROWS = 12, 200


class Denoising(Method):
    card = card
    settings: Settings

    def build(self) -> None:
        if not isinstance(self.student, Denoiser):
            raise SpecError.at("student", f"must be a denoiser of this engine; got {type(self.student).__name__}.")
        self.student.levels = ()  # a denoiser is judged along its own grid, whatever the architecture says
        self.classes, self.sigma_data = self.student.classes, self.student.sigma_data
        self.average: nn.Module = copy.deepcopy(self.student).eval().requires_grad_(False)
        self.optimizer = self.make_optimizer(self.student)

    def phases(self) -> Iterator[Phase]:
        yield Phase("denoise", self.step, self.budget.steps, data=self.draw)

    def draw(self, step: int, generator: torch.Generator) -> Batch:
        """A batch with all that is random in it: clean rows, unit noise, levels, and classes some of which are the null condition.

        All is drawn here and nothing in the step, so that cutting the batch into pieces changes nothing.
        """
        rows, settings = self.task.splits["train"], self.settings
        chosen = torch.randint(len(rows), (settings.batch_size,), generator=generator, device=self.device)
        sigma = log_normal_levels(
            settings.batch_size,
            mean=settings.level_mean,
            std=settings.level_std,
            low=settings.level_low,
            high=settings.level_high,
            generator=generator,
        )
        clean = rows.inputs[chosen]
        noise = torch.randn(clean.shape, generator=generator, device=self.device, dtype=clean.dtype)
        null = torch.full_like(chosen, self.classes)
        labels = null if rows.targets is None or not self.classes else rows.targets[chosen]
        dropped = torch.rand(settings.batch_size, generator=generator, device=self.device) < settings.label_dropout
        return Batch({"clean": clean, "noise": noise, "sigma": sigma.to(clean.dtype)}, labels.masked_fill(dropped, self.classes), chosen)

    def step(self, batch: Batch) -> Logs:
        clean, noise, sigma = (batch.inputs[name] for name in ("clean", "noise", "sigma"))
        denoised = self.student(clean + beside(sigma, clean) * noise, sigma, batch.targets)
        loss = edm_loss(denoised.to(clean.dtype), clean, sigma, self.sigma_data).mean()
        self.update(self.optimizer, loss)
        if self._context.micro.last:
            move_average(self.average, self.student, self.decay(self.position.step))
        return {"loss": loss, "squared_error": (denoised - clean).square().mean()}

    def decay(self, step: int) -> float:
        """What is left of the average after step number `step`, from 0."""
        decay = self.settings.average_decay
        return min(decay, WARMUP_DECAY) if step < self.settings.average_warmup else decay

    def product(self) -> nn.Module:
        return self.average

    def blueprint(self) -> dict[str, Any]:
        assert isinstance(self.student, Denoiser)
        return {**self.student.recipe(), "architecture": "denoiser"}

    def diagnostics(self) -> Diagnostics:
        """The average's loss on validation rows by noise level, with and without the class: their difference is what guidance works with."""
        rows = self.task.splits["validation"]
        clean = rows.inputs[:PROBED_ROWS]
        noise = self.task.noise_and_labels(len(clean))[0].to(clean.dtype)  # type: ignore[attr-defined]
        levels = geometric_grid(PROBED_LEVELS, self.settings.level_low, self.settings.level_high).to(clean)
        conditions: dict[str, Tensor | None] = {"null condition": None}
        if rows.targets is not None and self.classes:
            conditions["class given"] = rows.targets[: len(clean)]
        found = {
            name: losses_by_level(self.average, clean, noise, y, levels=levels, sigma_data=self.sigma_data)
            for name, y in conditions.items()
        }
        conditional = found.get("class given", found["null condition"])
        return Diagnostics(
            {"validation_loss": sum(conditional) / len(conditional)}, {"loss_by_level": loss_by_level(levels.tolist(), found)}
        )


@torch.no_grad()
def move_average(average: nn.Module, student: nn.Module, decay: float) -> None:
    """average ← decay·average + (1 − decay)·student, tensor by tensor, in place."""
    torch._foreach_lerp_(list(average.parameters()), [p.detach() for p in student.parameters()], 1 - decay)
