"""Scenes, and the method in front of one with no runner around it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from engine.method import Length, MicroBatch, Position, RunContext
from engine.methods.progressive_radiance.card import Settings
from engine.methods.progressive_radiance.method import ProgressiveRadiance
from engine.models.build import build
from engine.models.scene import SurfelScene
from engine.run.loader import no_batch
from engine.run.state import seal
from engine.tasks.toy_scene.task import ToyScene

CONFIG = {"patches": 400, "height": 16, "width": 32, "start": 0.01, "fixed_progress": None}


def scene(seed: int = 0, **config: Any) -> SurfelScene:
    torch.manual_seed(seed)
    built = build("surfel_scene", {**CONFIG, **config})
    assert isinstance(built, SurfelScene)
    return built


def true_scene(task: ToyScene) -> SurfelScene:
    """A scene with the truth's material and light, drawn by them alone."""
    found, truth = scene(fixed_progress=1.0), task.truth
    with torch.no_grad():
        found.light.copy_(torch.log(torch.expm1(truth.light)))
        found.albedo_logits.copy_(torch.logit(truth.albedo))
        found.specular_logits.copy_(torch.logit(truth.specular))
    return found


def new(
    task: ToyScene, student: SurfelScene | None = None, *, steps: int = 6, log: Callable[[str], None] = lambda text: None, **settings: Any
) -> ProgressiveRadiance:
    """Built and sealed as the runner does it."""
    method = ProgressiveRadiance(
        RunContext(
            task=task,
            settings=Settings(**settings),
            student=student or scene(),
            teachers=(),
            budget=Length(steps, 1),
            device=torch.device("cpu"),
            generator=torch.Generator().manual_seed(0),
            position=Position(),
            micro=MicroBatch(),
            log=log,
            save_table=lambda name, content: None,
            save_tensors=lambda name, tensors, meta: None,
        )
    )
    method.build()
    seal(method)
    return method


def run_phase(method: ProgressiveRadiance, name: str, *, steps: int | None = None) -> list[dict[str, float]]:
    phase = next(each for each in method.phases() if each.name == name)
    assert phase.begin is not None
    phase.begin()
    reported = []
    for step in range(steps or phase.steps):
        method.position.phase_step = step
        reported.append({key: float(value.detach()) for key, value in phase.step(no_batch(torch.device("cpu"))).items()})
        method.position.step += 1
    return reported


def values(method: ProgressiveRadiance) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in method.student.named_parameters()}
