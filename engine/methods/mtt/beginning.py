"""What a set is before the first outer iteration: which real rows it begins as, its labels, and its learning rate."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.distilled_sets.judging import random_rows
from engine.distilled_sets.settings import TrajectorySettings
from engine.errors import SpecError
from engine.models.synthetic_set import SyntheticSet, synthetic_set
from engine.tasks.classification import PicturesTask
from engine.tasks.task import Task


def prepared_set(
    config: Mapping[str, Any], task: Task, settings: TrajectorySettings, draws: torch.Generator, device: torch.device
) -> SyntheticSet:
    """A set without pictures, but with all that does not change: labels in the order of the classes, pixel statistics, and the rows that its
    pictures begin as, drawn by `draws`. Raises SpecError when a class has fewer rows than the set has pictures of it."""
    assert isinstance(task, PicturesTask), f"{task.card.id} has no pictures to make a set of"
    product, targets = synthetic_set(**config).to(device), task.splits["train"].targets
    classes, count = product.config.classes, settings.images_per_class
    assert targets is not None and product.learning_rate is not None, "a set is made of rows with labels, and learns its rate"
    with torch.no_grad():
        labels = torch.arange(classes, device=device).repeat_interleave(count)
        product.labels.copy_(F.one_hot(labels, classes) if product.config.soft_labels else labels)
        product.mean.copy_(task.mean)
        product.scale.copy_(task.scale)
        product.learning_rate.fill_(settings.learned_rate_start)
        if settings.initial == "real":
            try:
                product.source.copy_(random_rows(targets, count, classes, draws))
            except ValueError as error:
                text = f"must be at most the rows of each class; got {count}, and {error}."
                raise SpecError.at("settings.images_per_class", text) from None
    return product


def first_pictures(product: SyntheticSet, real: Tensor, settings: TrajectorySettings, draws: torch.Generator) -> Tensor:
    """(pictures, channels, height, width): the real rows (rows, …) that the set's `source` names, or noise of all real pixels' mean and
    deviation."""
    if settings.initial == "real":
        return real[product.source]
    noise = torch.randn(product.images.shape, generator=draws).to(real.device)
    return real.mean() + real.std() * noise
