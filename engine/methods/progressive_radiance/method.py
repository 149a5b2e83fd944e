"""Progressive radiance distillation: Ye, Hou & Zhou (2024), arXiv:2408.07595. Stages, weights and rates are the specification's; the paper's
code could not be had.

The teacher is a radiance field that the first stage fits to the photos. Its image is blended with the physical one by a progress that is learned
for each patch and starts near 0: where light and material explain the photo better, they take over.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from engine.charts import ChartSpec, histogram, lines
from engine.method import Batch, Diagnostics, Logs, Method, Phase
from engine.methods.progressive_radiance.card import Settings, card
from engine.metrics.scenes import ssim_map
from engine.models.scene import SurfelScene
from engine.rendering.deferred import blend
from engine.tasks.toy_scene.task import ToyScene
from engine.tasks.toy_scene.truth import Photos

JOINT: Final = 0.1
"""What the last stage multiplies the rates by."""
BINS, NOTED = 10, 20
"""Bins of the progress, and how often in the main stage it is noted."""
WORSE: Final = 1.05
"""The physical image's error over its smallest, above which a line warns."""
GROUPS: Final = ("radiance", "light", "albedo", "specular", "mirror_progress", "progress")

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
        settings, student, task = self.settings, self.student, self.task
        assert isinstance(task, ToyScene), f"{card.id} needs photos with cameras; the task is a {type(task).__name__}"
        student.fixed_progress = settings.fixed_progress if settings.progress == "fixed" else None
        groups = dict(zip(GROUPS, self._parameters(), strict=True))
        # Rate 0 freezes a group; without a gradient it keeps its moments as well.
        self.optimizer = torch.optim.Adam([{"params": [parameter], "lr": 0.0, "name": name} for name, parameter in groups.items()])
        self.course = torch.zeros(NOTED + 1, BINS, device=self.device)
        self.physical = torch.zeros(NOTED + 1, device=self.device)
        self.begun = 0

    def _parameters(self) -> tuple[torch.nn.Parameter, ...]:
        s = self.student
        return s.radiance, s.light, s.albedo_logits, s.specular_logits, s.mirror_progress_logits, s.progress_logits

    def blueprint(self) -> Mapping[str, Any]:
        """The scene with the progress that the settings ask for."""
        height, width = self.student.size
        config = {"patches": len(self.student.centers), "height": height, "width": width, "start": self.settings.p_init}
        return {
            "builder": "surfel_scene",
            "config": {**config, "fixed_progress": self.student.fixed_progress},
            "architecture": self.student_blueprint.get("architecture", "surfels-400"),
        }

    # Stages

    def phases(self) -> Iterator[Phase]:
        s = self.settings
        if s.radiance_steps:
            yield self._stage("radiance", s.radiance_steps, self.radiance_step, {"radiance": s.radiance_rate})
        if s.mirror_steps:
            rates = {"light": s.light_rate, "specular": s.material_rate, "mirror_progress": s.progress_rate}
            yield self._stage(
                "reflections", s.mirror_steps, self.mirror_step, {"radiance": s.late_radiance_rate, **rates}, restart="mirror_progress"
            )
        main = self._all_rates()
        if s.mirror_steps:  # what the stage before has found moves slowly from here on
            main["specular"] *= JOINT
        yield self._stage("distill", self.budget.steps, self.step, main, restart="progress")
        if s.joint_steps:
            rates = {name: JOINT * rate for name, rate in self._all_rates().items()}
            yield self._stage("together", s.joint_steps, self.step, rates)

    def _all_rates(self) -> dict[str, float]:
        s = self.settings
        material = {"albedo": s.material_rate, "specular": s.material_rate}
        return {"radiance": s.late_radiance_rate, "light": s.light_rate, **material, "progress": s.progress_rate}

    def _stage(self, name: str, steps: int, step: Callable[[Batch], Logs], rates: Rates, *, restart: str | None = None) -> Phase:
        return Phase(name, step, steps, data=None, begin=lambda: self._begin(name, rates, restart), end=lambda: self._end(name))

    @torch.no_grad()
    def _begin(self, name: str, rates: Rates, restart: str | None) -> None:
        """Sets the groups' rates. New progress begins at p_init with no moments."""
        self.begun = self.position.step
        for group in self.optimizer.param_groups:
            group["lr"] = rates.get(group["name"], 0.0)
            if group["name"] == restart:
                [logits] = group["params"]
                logits.fill_(torch.logit(torch.tensor(self.settings.p_init)))
                self.optimizer.state.pop(logits, None)
        if name == "distill" and self.settings.mirror_steps:
            self._guess_albedo()
        self._note(0, photometric(self.student.render(self._view.pixels).physical, self._view.photos))

    @torch.no_grad()
    def _guess_albedo(self) -> None:
        """Where reflections are known, the rest of the radiance is diffuse: a first albedo, from the field's mean and the light found so far."""
        pixels, student = self._view.pixels, self.student
        raw, irradiance = student.raw(pixels), student.irradiance(pixels, student.environment)
        count = torch.bincount(pixels.patch, minlength=len(student.centers)).clamp(min=1)[:, None]
        means = [torch.zeros_like(student.albedo_logits).index_add_(0, pixels.patch, values) / count for values in (raw, irradiance)]
        student.albedo_logits.copy_(albedo_guess(radiance=means[0], irradiance=means[1]))

    # Steps

    @property
    def _view(self) -> Photos:
        """The training cameras' pixels and photos."""
        assert isinstance(self.task, ToyScene)
        return self.task.views["train"]

    def radiance_step(self, batch: Batch) -> Logs:
        """Stage 1: the radiance field alone."""
        return self._descend(self.student.raw(self._view.pixels))

    def mirror_step(self, batch: Batch) -> Logs:
        """Stage 2: I = (1 − A_s) I_raw + A_s I_spec, with a progress of its own."""
        student, pixels = self.student, self._view.pixels
        shown = student.render(pixels)
        progress = student.mirror_progress_logits.sigmoid()
        image = blend(raw=shown.raw, physical=shown.reflected, progress=progress.index_select(0, pixels.patch))
        return self._descend(image, progress)

    def step(self, batch: Batch) -> Logs:
        """Stages 3 and 4: I = (1 − A) I_raw + A I_phy."""
        student = self.student
        shown = student.render(self._view.pixels)
        if student.fixed_progress == 1.0:  # the radiance field is not asked, and keeps what it knows
            logs = self._descend(shown.physical)
        elif student.fixed_progress is not None:
            logs = self._descend(shown.image)
        else:
            logs = self._descend(shown.image, student.progress)
        physical = photometric(shown.physical.detach(), self._view.photos)
        self._note(self.position.step - self.begun + 1, physical)
        return {**logs, "loss/physical": physical}

    def _descend(self, image: Tensor, progress: Tensor | None = None) -> Logs:
        """One Adam step of all groups on L = (1 − w) |I − I_gt| + w (1 − SSIM) + λ_p mean(1 − p)."""
        settings, view = self.settings, self._view
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

    # What is told

    @torch.no_grad()
    def _note(self, done: int, physical: Tensor) -> None:
        """Counts the patches' progress in bins beside the physical image's error, NOTED times in the main stage."""
        every = max(1, self.budget.steps // NOTED)
        if done % every == 0 and done // every <= NOTED:
            bins = (self.student.progress * BINS).long().clamp(max=BINS - 1).flatten()
            self.course[done // every] = torch.bincount(bins, minlength=BINS).float()
            self.physical[done // every] = physical

    def _end(self, name: str) -> None:
        for warning in self._warnings() if name == "distill" else ():
            self.log(warning)

    def _warnings(self) -> list[str]:
        """What a person should look at after the main stage."""
        found, student = [], self.student
        progress, albedo = student.progress.detach(), student.albedo.detach()
        if student.fixed_progress is None:
            if float(progress.max()) < 2 * self.settings.p_init:
                found.append("Progress stayed where it began: the radiance field learns too fast, or the physical image has other colors.")
            quarter = self.course[NOTED // 4]
            if float(quarter.sum()) and float(quarter[-1] / quarter.sum()) > 0.99:
                found.append("Progress was near 1 everywhere after a quarter of the steps; lower push or p_init.")
        noted = self.physical[self.course.sum(dim=1) > 0]
        if len(noted) and float(noted[-1]) > WORSE * float(noted.min()):
            found.append("The physical image alone became worse again: what it can't show is leaking into material and light.")
        if float(((albedo - 0.5).abs() > 0.48).float().mean()) > 0.1:
            found.append("More than a tenth of the albedo is near 0 or 1: its scale and that of the light run away from each other.")
        return found

    def diagnostics(self) -> Diagnostics:
        """The progress of all patches now, and its course."""
        noted = [row for row in self.course.tolist() if sum(row)]
        tables: dict[str, ChartSpec] = {}
        if noted:
            edges = [at / BINS for at in range(BINS + 1)]
            every = max(1, self.budget.steps // NOTED)
            tables["progress_histogram"] = histogram(
                "Progress of the patches",
                edges,
                {"at the start": [int(count) for count in noted[0]], "now": [int(count) for count in noted[-1]]},
                x="progress",
                y="patches",
            )
            steps = [every * at for at in range(len(noted))]
            shares = {f"{low:.1f} to {low + 1 / BINS:.1f}": [row[at] / sum(row) for row in noted] for at, low in enumerate(edges[:-1])}
            tables["progress_course"] = lines(
                "Schedule of the progress",
                {name: (steps, values) for name, values in shares.items()},
                x="step of the stage",
                y="share of patches",
            )
        return Diagnostics({}, tables)
