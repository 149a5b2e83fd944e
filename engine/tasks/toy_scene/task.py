"""Judges a scene by pictures that were not there to learn from: other cameras, and another light."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from engine.charts import ChartSpec as Table
from engine.charts import images
from engine.metrics.scenes import psnr, scale_to, ssim_map
from engine.models.build import build
from engine.models.scene import Rendering, SurfelScene
from engine.pictures import png
from engine.rendering.environment import solid_angles
from engine.tasks.task import Judgement, Split, Task
from engine.tasks.toy_scene.card import card
from engine.tasks.toy_scene.truth import CAMERAS, HEIGHT, WIDTH, Photos, Truth

SHOWN = 4
"""Cameras of a split whose pictures an evaluation shows."""
SATURATED = 0.02


class ToyScene(Task):
    """The photos are `views["train"].photos`; `truth` is for judging alone."""

    card = card

    def load(self) -> dict[str, Split]:
        return {}

    def __init__(self, options: Any, device: torch.device) -> None:
        super().__init__(options, device)
        self.truth = Truth()
        self.views = {split: self._here(self.truth.view(split)) for split in CAMERAS}

    def _here(self, view: Photos) -> Photos:
        tensors = {name: getattr(view, name).to(self.device) for name in ("photos", "other_light", "relit", "modeled")}
        return replace(view, pixels=view.pixels.to(self.device), **tensors)

    def new_model(self, architecture: str, config: Mapping[str, Any]) -> nn.Module:
        return build(card.architectures[architecture].builder, config)

    def judge_scene(self, model: nn.Module, split: str, *, teacher: nn.Module | None, final: bool) -> Judgement:
        """Novel views of the split's cameras, the physical image alone under its other light (no scale is fitted), and the material."""
        assert isinstance(model, SurfelScene), f"this task judges a SurfelScene; got a {type(model).__name__}"
        view = self.views[split]
        shown, relit = model.render(view.pixels), model.render(view.pixels, view.other_light).physical
        on_modeled = torch.where(view.modeled[:, None], relit, view.relit)  # the ring counts for nothing
        metrics: dict[str, float | None] = {
            "relight_psnr": psnr(relit[view.modeled], view.relit[view.modeled]),
            "relight_ssim": _ssim(view, on_modeled, view.relit, view.modeled),
            "view_psnr": psnr(shown.image, view.photos),
            "view_ssim": _ssim(view, shown.image, view.photos, torch.ones_like(view.modeled)),
            "raw_psnr": psnr(shown.raw, view.photos),
            "physical_psnr": psnr(shown.physical, view.photos),
            **self._material(model),
        }
        return Judgement(metrics, self._pictures(model, view, shown, relit, split))

    def _material(self, model: SurfelScene) -> dict[str, float | None]:
        """Errors of what is behind the pictures, on the patches that do not glow, and the progress on both kinds of patches."""
        modeled = self.truth.modeled.to(self.device)
        albedo, truth = model.albedo[modeled], self.truth.albedo.to(self.device)[modeled]
        progress = model.progress.squeeze(1)
        share = (solid_angles(HEIGHT, WIDTH).flatten() / (4 * torch.pi)).to(self.device)
        light_error = (model.environment - self.truth.light.to(self.device)).abs().mean(dim=1)
        return {
            "albedo_error": float((albedo - truth).abs().mean()),
            "albedo_error_scaled": float((albedo * scale_to(albedo, truth) - truth).abs().mean()),
            "environment_error": float((light_error * share).sum()),
            "mean_progress": float(progress.mean()),
            "progress_modeled": float(progress[modeled].mean()),
            "progress_unmodeled": float(progress[~modeled].mean()),
            "albedo_saturated": float(((model.albedo - 0.5).abs() > 0.5 - SATURATED).float().mean()),
        }

    def _pictures(self, model: SurfelScene, view: Photos, shown: Rendering, relit: Tensor, split: str) -> dict[str, Table]:
        columns = {
            "photo": view.photos,
            "raw": shown.raw,
            "physical": shown.physical,
            "blend": shown.image,
            "progress": shown.progress,
            "albedo": shown.albedo,
            "normal": view.pixels.points / 2 + 0.5,
        }
        relights = {"truth": view.relit, "relit": relit, "difference": (relit - view.relit).abs() * view.modeled[:, None]}
        lights = {"truth": self.truth.light, "found": model.environment, f"the other light of {split}": view.other_light}
        return {
            "cameras": images(f"Cameras of {split}", _rows(view, columns), columns=list(columns)),
            "relighting": images(
                "Relit", _rows(view, relights), columns=list(relights), note="The truth without its glow; differences off the glowing ring."
            ),
            "light": images("Light", {"all directions": [_light_png(light) for light in lights.values()]}, columns=list(lights)),
        }


def _ssim(view: Photos, values: Tensor, truth: Tensor, where: Tensor) -> float:
    """Mean structural similarity over the pixels `where` (n,), from whole pictures."""
    similarity = ssim_map(view.pixels.images(values), view.pixels.images(truth)).mean(dim=1)
    return float(similarity[view.pixels.mask][where].mean())


def _rows(view: Photos, columns: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """The first cameras' pictures, a row a camera."""
    pictures = [view.pixels.images(values) for values in columns.values()]
    return {f"camera {camera + 1}": [png(each[camera]) for each in pictures] for camera in range(SHOWN)}


def _light_png(light: Tensor) -> str:
    return png(light.view(HEIGHT, WIDTH, 3).permute(2, 0, 1))
