"""A method with two small networks in front of it and no runner around it: what it computes can be looked at step by step."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine.method import Batch, Length, Method, MicroBatch, Position, RunContext
from engine.run.state import seal
from engine.spec import catalog
from engine.spec.cards import TaskCard
from engine.tasks.task import Split, Task

ROWS, INPUTS, CLASSES = 12, 4, 3


def data(seed: int = 0, *, rows: int = ROWS, classes: int = CLASSES) -> Split:
    """`rows` rows of INPUTS numbers, float64, with random labels."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(rows, INPUTS, generator=generator, dtype=torch.float64)
    return Split(inputs, torch.randint(classes, (rows,), generator=generator))


def network(seed: int, *, classes: int = CLASSES) -> nn.Module:
    """A linear classifier in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(INPUTS, classes).double()


class RowsTask(Task):
    """Rows made by the test, in place of a data set."""

    card: TaskCard = catalog.tasks()["digits"]

    def __init__(self, split: Split, classes: int = CLASSES) -> None:
        self.splits = {"train": split, "validation": split, "test": split}
        self.device = torch.device("cpu")
        self.card = _with_classes(classes)


def _with_classes(classes: int) -> TaskCard:
    from dataclasses import replace

    return replace(catalog.tasks()["digits"], classes=classes)


def new_method(
    method_id: str,
    settings: Mapping[str, Any] | None = None,
    *,
    student: nn.Module | None = None,
    teachers: tuple[nn.Module, ...] = (),
    split: Split | None = None,
    steps: int = 6,
    steps_per_epoch: int = 3,
    classes: int = CLASSES,
) -> Method:
    """Built and sealed as the runner does it. `tables` are in `method._context.save_table.__self__`."""
    method_class = catalog.load_method(method_id)
    for teacher in teachers:
        teacher.eval().requires_grad_(False)
    method = method_class(
        RunContext(
            task=RowsTask(split or data(), classes),
            settings=method_class.card.settings.model_validate(
                {"optimizer": "sgd", "momentum": 0.0, "schedule": "constant", **(settings or {})}
            ),
            student=student or network(1, classes=classes),
            teachers=teachers,
            budget=Length(steps, steps_per_epoch),
            device=torch.device("cpu"),
            generator=torch.Generator().manual_seed(0),
            position=Position(),
            micro=MicroBatch(),
            log=lambda text: None,
            save_table={}.__setitem__,
            save_tensors=lambda name, tensors, meta: None,
        )
    )
    method.build()
    seal(method)
    return method


def train(method: Method, *, batch_size: int = 4, seed: int = 0) -> list[dict[str, float]]:
    """All steps of all phases over shuffled batches, as the runner makes them; returns each step's terms."""
    split, position = method.task.splits["train"], method.position
    per_epoch = method.budget.steps_per_epoch
    terms = []
    for phase in method.phases():
        for step in range(phase.steps):
            epoch, within = divmod(step, per_epoch)
            order = torch.randperm(len(split), generator=torch.Generator().manual_seed(1000 * seed + epoch))
            position.step = position.phase_step = step
            position.epoch, position.step_in_epoch = epoch, within
            batch = split.take(order[within * batch_size : (within + 1) * batch_size])
            terms.append({name: float(value.detach()) for name, value in phase.step(batch).items()})
    return terms


def one_step(method: Method, batch: Batch | None = None) -> dict[str, float]:
    """The terms of the first phase's step on one batch, by default all rows."""
    split = method.task.splits["train"]
    phase = next(iter(method.phases()))
    return {name: float(value.detach()) for name, value in phase.step(batch or split.take(torch.arange(len(split)))).items()}


def weights(module: nn.Module) -> Tensor:
    """All parameters in one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
