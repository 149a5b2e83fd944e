"""A split's rows as regression sees them."""

import torch.nn.functional as F
from torch import Tensor

from engine.tasks.task import Task


def labeled_rows(task: Task, split: str) -> tuple[Tensor, Tensor]:
    """Flat inputs (rows, inputs) and one-hot labels (rows, classes) of a split, in float64."""
    rows = task.splits[split]
    assert rows.targets is not None and task.card.classes is not None, f"{task.card.id} has no labels in {split}"
    return rows.inputs.flatten(1).double(), F.one_hot(rows.targets, task.card.classes).double()
