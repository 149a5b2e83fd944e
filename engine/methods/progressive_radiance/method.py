"""Progressive radiance distillation: Ye, Hou & Zhou (2024), arXiv:2408.07595. Stages, weights and rates are the specification's; the paper's
code could not be had.

The teacher is a radiance field that the first stage fits to the photos. Its image is blended with the physical one by a progress that is learned
for each patch and starts near 0: where light and material explain the photo better, they take over.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from engine.method import Batch, Diagnostics, Length, Logs, Method, Phase
from engine.methods.progressive_radiance.card import Settings, card
from engine.methods.progressive_radiance.course import ProgressCourse
from engine.methods.progressive_radiance.early_warnings import early_warnings
from engine.metrics.scenes import ssim_map
from engine.models.scene import SurfelScene
from engine.rendering.deferred import blend
from engine.tasks.toy_scene.task import ToyScene
from engine.tasks.toy_scene.truth import Photos

JOINT: Final = 0.1
"""What the last stage multiplies the rates by."""

Rates = Mapping[str, float]


def photometric(image: Tensor, photos: Tensor) -> Tensor:
    """|I − I_gt|: the mean over pixels and channels. Both (n, 3)."""
    return (image - photos).abs().mean()


def mixed_loss(*, absolute: Tensor, dissimilarity: Tensor, ssim_weight: float) -> Tensor:
    """(1 − w) |I − I_gt| + w (1 − SSIM)."""
    return (1 - ssim_weight) * absolute + ssim_weight * dissimilarity


def albedo_guess(*, radiance: Tensor, irradiance: Tensor) -> Tensor:
    """The logits of the albedo whose diffuse image is the mean radiance: b = π·c_mean / Irr, kept inside (0.02, 0.98).

    radiance (patches, 3), the mean color over directions; irradiance (patches, 3), at least 1e-3 is taken → (patches, 3).
    """
    return torch.logit((torch.pi * radiance / irradiance.clamp(min=1e-3)).clamp(0.02, 0.98))


class ProgressiveRadiance(Method):
    card = card
    settings: Settings
    student: SurfelScene

    def build(self) -> None:
        settings, student = self.settings, self.student
        assert isinstance(self.task, ToyScene), f"{card.id} needs photos with cameras; the task is a {type(self.task).__name__}"
        student.fixed_progress = settings.fixed_progress if settings.progress == "fixed" else None
        groups = {
            "radiance": student.radiance,
            "light": student.light,
            "albedo": student.albedo_logits,
            "specular": student.specular_logits,
            "mirror_progress": student.mirror_progress_logits,
            "progress": student.progress_logits,
        }
        # Rate 0 freezes a group; without a gradient it keeps its moments as well.
        self.optimizer = torch.optim.Adam([{"params": [parameter], "lr": 0.0, "name": name} for name, parameter in groups.items()])
        self.course = ProgressCourse(self.budget.steps, self.device)

    def lengthened(self, before: Length) -> None:
        self.course.lengthen(before.steps)

    # Stages

    def phases(self) -> Iterator[Phase]:
        s, rates = self.settings, self.rates()
        if s.radiance_steps:
            yield self.stage("radiance", s.radiance_steps, self.radiance_step, {"radiance": s.radiance_rate})
        if s.mirror_steps:
            mirror = {
                "radiance": rates["radiance"],
                "light": rates["light"],
                "specular": rates["specular"],
                "mirror_progress": s.progress_rate,
            }
            yield self.stage("reflections", s.mirror_steps, self.mirror_step, mirror, begin=self.begin_reflections)
            rates["specular"] *= JOINT  # what this stage has found moves slowly from here on
        yield self.stage("distill", self.budget.steps, self.main_step, rates, begin=self.begin_distillation, end=self.end_distillation)
        if s.joint_steps:
            joint = {name: JOINT * rate for name, rate in self.rates().items()}
            yield self.stage("together", s.joint_steps, self.step, joint)

    def rates(self) -> dict[str, float]:
        """The main stage's step size of each group."""
        s = self.settings
        material = {"albedo": s.material_rate, "specular": s.material_rate}
        return {"radiance": s.late_radiance_rate, "light": s.light_rate, **material, "progress": s.progress_rate}

    def stage(
        self,
        name: str,
        steps: int,
        step: Callable[[Batch], Logs],
        rates: Rates,
        *,
        begin: Callable[[], None] = lambda: None,
        end: Callable[[], None] | None = None,
    ) -> Phase:
        """A phase with these step sizes, 0 for the groups that are not named."""

        def prepare() -> None:
            for group in self.optimizer.param_groups:
                group["lr"] = rates.get(group["name"], 0.0)
            begin()

        return Phase(name, step, steps, data=None, begin=prepare, end=end)

    def begin_reflections(self) -> None:
        self.restart(self.student.mirror_progress_logits)

    @torch.no_grad()
    def begin_distillation(self) -> None:
        self.restart(self.student.progress_logits)
        if self.settings.mirror_steps:
            self.guess_albedo()
        physical = photometric(self.student.render(self.view.pixels).physical, self.view.photos)
        self.course.note(0, progress=self.student.progress, physical=physical)

    def end_distillation(self) -> None:
        for warning in early_warnings(self.student, self.course, self.settings):
            self.log(warning)

    @torch.no_grad()
    def restart(self, logits: Tensor) -> None:
        """New progress begins at p_init with no moments."""
        logits.fill_(torch.logit(torch.tensor(self.settings.p_init)))
        self.optimizer.state.pop(logits, None)

    @torch.no_grad()
    def guess_albedo(self) -> None:
        """Where reflections are known, the rest of the radiance is diffuse: a first albedo, from the field's mean and the light found so far."""
        pixels, student = self.view.pixels, self.student
        raw, irradiance = student.raw(pixels), student.irradiance(pixels, student.environment)
        count = torch.bincount(pixels.patch, minlength=len(student.centers)).clamp(min=1)[:, None]
        means = [torch.zeros_like(student.albedo_logits).index_add_(0, pixels.patch, values) / count for values in (raw, irradiance)]
        student.albedo_logits.copy_(albedo_guess(radiance=means[0], irradiance=means[1]))

    # Steps

    @property
    def view(self) -> Photos:
        """The training cameras' pixels and photos."""
        assert isinstance(self.task, ToyScene)
        return self.task.views["train"]

    def radiance_step(self, batch: Batch) -> Logs:
        """Stage 1: the radiance field alone."""
        return self.descend(self.student.raw(self.view.pixels))

    def mirror_step(self, batch: Batch) -> Logs:
        """Stage 2: I = (1 − A_s) I_raw + A_s I_spec, with a progress of its own."""
        student, pixels = self.student, self.view.pixels
        shown = student.render(pixels)
        progress = student.mirror_progress_logits.sigmoid()
        image = blend(raw=shown.raw, physical=shown.reflected, progress=progress.index_select(0, pixels.patch))
        return self.descend(image, progress)

    def step(self, batch: Batch) -> Logs:
        """Stages 3 and 4: I = (1 − A) I_raw + A I_phy."""
        student = self.student
        shown = student.render(self.view.pixels)
        if student.fixed_progress == 1.0:  # the radiance field is not asked, and keeps what it knows
            logs = self.descend(shown.physical)
        elif student.fixed_progress is not None:
            logs = self.descend(shown.image)
        else:
            logs = self.descend(shown.image, student.progress)
        return {**logs, "loss/physical": photometric(shown.physical.detach(), self.view.photos)}

    def main_step(self, batch: Batch) -> Logs:
        """Stage 3, whose course is noted."""
        logs = self.step(batch)
        self.course.note(self.position.phase_step + 1, progress=self.student.progress, physical=logs["loss/physical"])
        return logs

    def descend(self, image: Tensor, progress: Tensor | None = None) -> Logs:
        """One Adam step of all groups on L = (1 − w) |I − I_gt| + w (1 − SSIM) + λ_p mean(1 − p)."""
        settings, view = self.settings, self.view
        absolute = photometric(image, view.photos)
        loss, logs = absolute, {"loss/photos": absolute}
        if settings.ssim_weight:
            similarity = ssim_map(view.pixels.images(image), view.pixels.images(view.photos)).mean(dim=1)
            logs["loss/ssim"] = 1 - similarity[view.pixels.mask].mean()
            loss = mixed_loss(absolute=absolute, dissimilarity=logs["loss/ssim"], ssim_weight=settings.ssim_weight)
        if progress is not None:
            logs["progress"] = progress.mean()
            loss = loss + settings.push * (1 - logs["progress"])
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, enabled=False):
            loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {"loss": loss, **logs}

    # What comes out

    def blueprint(self) -> Mapping[str, Any]:
        """The scene with the progress that the settings ask for."""
        height, width = self.student.size
        config = {"patches": len(self.student.centers), "height": height, "width": width, "start": self.settings.p_init}
        return {
            "builder": "surfel_scene",
            "config": {**config, "fixed_progress": self.student.fixed_progress},
            "architecture": self.student_blueprint.get("architecture", "surfels-400"),
        }

    def diagnostics(self) -> Diagnostics:
        """The progress of all patches now, and its course in the main stage."""
        return Diagnostics({}, self.course.charts())
