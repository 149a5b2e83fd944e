"""A method that matches trajectories, on few digits, with no runner around it."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch

from engine.method import Length, MicroBatch, Phase, Position, RunContext
from engine.methods.mtt.card import TINY
from engine.models.build import build
from engine.run.state import seal
from engine.spec import catalog
from engine.tasks.digits.card import Options
from engine.tasks.task import Task

BLUEPRINT = {"architecture": "convnet", "builder": "convnet", "config": {"channels": 1, "width": 4, "depth": 2, "grid": 2, "classes": 10}}
SMALL = TINY | {"held_out_seed": None, "flatness_epochs": []}


@cache
def digits() -> Task:
    """150 training rows."""
    return catalog.load_task("digits")(Options(train_limit=150), torch.device("cpu"))


def new_matcher(method_id: str = "mtt", settings: Mapping[str, Any] | None = None, *, steps: int = 4, seed: int = 0) -> Any:
    """Built and sealed as the runner does it. What it saves is in `left`, what it says in `said`."""
    method_class = catalog.load_method(method_id)
    left: dict[str, Any] = {}
    said: list[str] = []
    method = method_class(
        RunContext(
            task=digits(),
            settings=method_class.card.settings.model_validate({**SMALL, **(settings or {})}),
            student=build(BLUEPRINT["builder"], BLUEPRINT["config"]),
            teachers=(),
            budget=Length(steps, 1),
            device=torch.device("cpu"),
            generator=torch.Generator().manual_seed(seed),
            position=Position(),
            micro=MicroBatch(),
            log=said.append,
            save_table=left.__setitem__,
            save_tensors=lambda name, tensors, meta: left.__setitem__(name, (dict(tensors), dict(meta))),
            student_blueprint=BLUEPRINT,
        )
    )
    method.build()
    seal(method)
    method.__dict__["left"], method.__dict__["said"] = left, said
    return method


def walk(method: Any, *, until: str | None = None) -> Iterator[tuple[Phase, dict[str, torch.Tensor]]]:
    """Makes all steps of all phases before `until`, and yields each step's terms."""
    for phase in method.phases():
        if phase.name == until:
            return
        if phase.begin is not None:
            phase.begin()
        for step in range(phase.steps):
            method.position.phase_step = step
            batch = phase.data(step, torch.Generator().manual_seed(step)) if callable(phase.data) else None
            yield phase, dict(phase.step(batch))
        if phase.end is not None:
            phase.end()


def finished(method: Any) -> Any:
    """The method after all its steps."""
    for _ in walk(method):
        pass
    return method
