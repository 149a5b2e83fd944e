"""A method that makes generators, on the digits bench with tiny networks and no runner around it."""

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine.method import Length, Method, MicroBatch, Position, RunContext
from engine.models.build import build
from engine.models.denoisers import EdmMlp
from engine.run.state import seal
from engine.spec import catalog
from engine.tasks.generation import GenerationTask

TINY = {"inputs": 64, "width": 16, "blocks": 1, "classes": 10, "sigma_data": 0.752, "sampler_steps": 2}


@functools.cache
def bench() -> GenerationTask:
    card = catalog.tasks()["digits-images"]
    return catalog.load_task("digits-images")(card.options(samples=100), torch.device("cpu"))


def network(seed: int, **changes: Any) -> EdmMlp:
    """One whose last layer is not 0, so that it says something."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build("edm_mlp", {**TINY, **changes})
        nn.init.normal_(model.leave.weight, std=0.1)
    return model


def new(
    method: str | type[Method],
    settings: Mapping[str, Any] | None = None,
    *,
    student: nn.Module | None = None,
    teacher: nn.Module | None = None,
    steps: int = 4,
    seed: int = 0,
    lines: list[str] | None = None,
) -> Method:
    """Built and sealed as the runner does it, from a method's id or class. One with teachers gets `network(0)`; `lines` takes what is logged."""
    method_class = catalog.load_method(method) if isinstance(method, str) else method
    teachers = () if method_class.card.teachers is None else ((teacher or network(0)).eval().requires_grad_(False),)
    made = method_class(
        RunContext(
            task=bench(),
            settings=method_class.card.settings.model_validate({"batch_size": 8, **(settings or {})}),
            student=(student or network(1)).train(),
            teachers=teachers,
            budget=Length(steps, 1),
            device=torch.device("cpu"),
            generator=torch.Generator().manual_seed(seed),
            position=Position(),
            micro=MicroBatch(),
            log=[].append if lines is None else lines.append,
            save_table={}.__setitem__,
            save_tensors=lambda name, tensors, meta: None,
        )
    )
    made.build()
    seal(made)
    return made


def apart(method: Method) -> Method:
    """The same method, with a fake that no longer says what the teacher says: there is a direction to follow."""
    nn.init.normal_(method.fake.leave.weight, std=0.3, generator=torch.Generator().manual_seed(9))
    return method


def step(method: Method, *, times: int = 1) -> list[dict[str, float]]:
    """Steps of the first phase, with the batches that it draws itself."""
    [phase] = method.phases()
    terms = []
    for _ in range(times):
        batch = phase.data(method.position.step, torch.Generator().manual_seed(method.position.step)) if callable(phase.data) else None
        terms.append({name: float(value.detach()) for name, value in phase.step(batch).items()})
        method.position.step += 1
    return terms


def weights(module: nn.Module) -> Tensor:
    """All parameters in one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
