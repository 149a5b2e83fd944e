"""Pairwise sample optimization on tiny generators, with no runner around it."""

import functools
from typing import Any

import torch
from torch import Tensor, nn

from engine.method import Batch, Length, Method, MicroBatch, Position, RunContext
from engine.models.denoisers import edm_mlp
from engine.models.points import vp_mlp
from engine.run.state import seal
from engine.spec import catalog
from engine.tasks.digits_images.card import Options as DigitsOptions
from engine.tasks.digits_images.task import DigitsImages
from engine.tasks.points_2d.card import Options
from engine.tasks.points_2d.task import Points2D
from engine.tasks.task import Task

LEVELS = (20.0, 2.0, 0.5)


def normal(seed: int, *shape: int) -> Tensor:
    """Standard normal numbers in float64, (5, 3, 2) unless a shape is given."""
    return torch.randn(shape or (5, 3, 2), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def new(
    settings: dict[str, Any] | None = None,
    *,
    task: Task | None = None,
    student: nn.Module | None = None,
    levels: tuple[float, ...] = LEVELS,
    steps: int = 12,
) -> Method:
    """Built and sealed as the runner does it."""
    method_class = catalog.load_method("pso")
    method = method_class(
        RunContext(
            task=task or points(),
            settings=method_class.card.settings.model_validate({"batch_size": 6, "reward": "near:-0.6,0.6", **(settings or {})}),
            student=(student or generator(levels)).train(),
            teachers=(),
            budget=Length(steps, 1),
            device=torch.device("cpu"),
            generator=torch.Generator().manual_seed(0),
            position=Position(),
            micro=MicroBatch(),
            log=[].append,
            save_table={}.__setitem__,
            save_tensors=lambda name, tensors, meta: None,
            student_blueprint={"builder": "vp_mlp", "config": {"levels": list(levels)}, "architecture": "of another run"},
        )
    )
    method.build()
    seal(method)
    return method


@functools.cache
def points() -> Task:
    return Points2D(Options(samples=100, held_out=100), torch.device("cpu"))


@functools.cache
def digits() -> Task:
    return DigitsImages(DigitsOptions(samples=100), torch.device("cpu"))


def generator(levels: tuple[float, ...] = LEVELS) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return vp_mlp(inputs=2, width=16, layers=2, sigma_data=0.7, levels=levels, sampler_steps=4, sigma_min=0.03, sigma_max=30.0)


def pictures() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        sizes = {"inputs": 64, "width": 8, "blocks": 1, "classes": 10, "sigma_data": 0.75}
        return edm_mlp(**sizes, levels=LEVELS, sampler_steps=4, sigma_min=0.02, sigma_max=20.0)


def run(method: Method, steps: int) -> list[tuple[Batch, dict[str, Tensor]]]:
    """The first steps with their batches, as the runner makes them."""
    [phase] = method.phases()
    if phase.begin is not None:
        phase.begin()
    made = []
    for step in range(steps):
        method.position.step = method.position.phase_step = step
        batch = phase.data(step, torch.Generator().manual_seed(100 + step))
        made.append((batch, {name: term.detach() for name, term in phase.step(batch).items()}))
    return made
