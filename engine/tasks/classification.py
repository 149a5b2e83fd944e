"""What the tasks with one label a row share: how rows are cut and spoiled, and how a classifier is judged.

A child gives the rows, pictures or text, and the sizes of the three parts.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from engine.distilled_sets.judging import Witnesses, judge_set
from engine.models.build import build
from engine.models.synthetic_set import SyntheticSet
from engine.spec.cards import TaskOptions
from engine.tasks.augmentation import jittered
from engine.tasks.judging import judge_classifier
from engine.tasks.options import ClassificationOptions
from engine.tasks.task import Augmentation, Judgement, Split, Task

EVALUATION_ROWS = 1024


class LabeledTask(Task):
    """Judges classifiers. A child's `picture` or `text` shows a row in tables of examples."""

    def __init__(self, options: TaskOptions, device: torch.device) -> None:
        self._frozen_logits: WeakKeyDictionary[nn.Module, dict[str, Tensor]] = WeakKeyDictionary()
        super().__init__(options, device)

    def new_model(self, architecture: str, config: Mapping[str, Any]) -> nn.Module:
        chosen = self.card.architectures[architecture]
        return build(chosen.builder, {**chosen.config, **config})

    @torch.no_grad()
    def logits(self, model: nn.Module, split: str) -> Tensor:
        """(rows, classes) of a whole split in eval mode, on the CPU. The model is left in the mode it came in."""
        was_training = model.training
        model.eval()
        pieces = [model(piece) for piece in self.splits[split].inputs.split(EVALUATION_ROWS)]
        model.train(was_training)
        return torch.cat(pieces).cpu()

    def judge_classifier(self, model: nn.Module, split: str, *, teacher: nn.Module | None, final: bool) -> Judgement:
        """See `engine.tasks.judging`. `teacher` must not change between calls: its logits are computed once a split."""
        return judge_classifier(
            logits=self.logits(model, split),
            labels=self._labels(split),
            split=split,
            teacher_logits=None if teacher is None else self._logits_of_frozen(teacher, split),
            calibration=(self.logits(model, "validation"), self._labels("validation")) if final else None,
            measured=(model, self.splits[split].inputs[:1]) if final else None,
            show=lambda row: self._shown(split, row),
        )

    def _shown(self, split: str, row: int) -> dict[str, Any]:
        ways = {"picture": self.picture(split, row), "text": self.text(split, row)}
        return {name: value for name, value in ways.items() if value is not None}

    def _labels(self, split: str) -> Tensor:
        targets = self.splits[split].targets
        assert targets is not None, f"{self.card.id} has a label for every row"
        return targets.cpu()

    def _logits_of_frozen(self, teacher: nn.Module, split: str) -> Tensor:
        known = self._frozen_logits.setdefault(teacher, {})
        if split not in known:
            known[split] = self.logits(teacher, split)
        return known[split]


class PicturesTask(LabeledTask):
    """Judges classifiers of pictures, and sets of pictures. A child's `load` sets `mean` and `scale`, by which pixels in 0…1 were
    standardized."""

    mean: Tensor
    scale: Tensor

    def __init__(self, options: TaskOptions, device: torch.device) -> None:
        self._witnesses = Witnesses()
        super().__init__(options, device)

    def picture(self, split: str, row: int) -> list[list[int]]:
        """One example as gray levels 0…255, (height, width), for tables of examples."""
        pixels = self.splits[split].inputs[row].cpu() * self.scale + self.mean
        gray: list[list[int]] = pixels.mean(dim=0).mul(255).round().clamp(0, 255).int().tolist()
        return gray

    def judge_set(self, model: SyntheticSet, split: str, *, teacher: nn.Module | None, final: bool) -> Judgement:
        """See `engine.distilled_sets.judging`. A set has no teacher to be compared with."""
        return judge_set(
            model,
            train=self.splits["train"],
            judged=self.splits[split],
            split=split,
            mean=self.mean,
            scale=self.scale,
            final=final,
            witnesses=self._witnesses,
        )


class ClassificationTask(PicturesTask):
    """A child sets `card` and `parts` (rows for training, validation and test) and writes `pictures`."""

    options: ClassificationOptions
    parts: ClassVar[tuple[int, int, int]]

    def pictures(self) -> tuple[Tensor, Tensor]:
        """All pictures (rows, channels, height, width) float32 in 0…1, and labels (rows,) int64. Raises DataError."""
        raise NotImplementedError

    def load(self) -> dict[str, Split]:
        """Cut, standardized with all training rows (before any limit), then limited, then spoiled."""
        pixels, labels = self.pictures()
        train, validation, test = cut(labels, self.sizes(), how=self.options.split, seed=self.options.split_seed)
        self.mean, self.scale = self.statistics(pixels[train])

        train = train[: getattr(self.options, "train_limit", None)]
        spoiled = noisy(labels[train], share=self.options.label_noise, classes=self.card.classes or 0, seed=self.options.label_noise_seed)
        targets = {"train": spoiled, "validation": labels[validation], "test": labels[test]}
        rows = {"train": train, "validation": validation, "test": test}
        return {name: Split((pixels[rows[name]] - self.mean) / self.scale, targets[name]) for name in rows}

    def sizes(self) -> tuple[int, int, int]:
        """Rows for training, validation and test."""
        return self.parts

    def statistics(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(channels, height, width) each, of all training rows: what is taken from a pixel, and what it is then divided by."""
        return pixel_statistics(pixels)

    def augmentation(self) -> Augmentation | None:
        shift, noise = self.options.augment_shift, self.options.augment_noise
        return partial(jittered, shift=shift, noise=noise) if shift or noise else None


def pixel_statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale of each pixel of (rows, …), by which it is standardized: the scale is the standard deviation plus 0.1."""
    # 0.1 keeps pixels that are nearly constant in the training rows from growing without bound.
    return pixels.mean(dim=0), pixels.std(dim=0) + 0.1


def cut(labels: Tensor, parts: tuple[int, int, int], *, how: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Row numbers (rows,) int64 of training, validation and test, disjoint and together all rows of labels (rows,) int64.

    random: one permutation drawn from a generator with `seed`, in that order. stratified: each class has the same share in all three.
    """
    assert sum(parts) == len(labels), f"parts {parts} do not sum to {len(labels)} rows"
    if how == "random":
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        train, validation, test = order.split(list(parts))
        return train, validation, test
    classes = labels.numpy()
    rest, last = train_test_split(np.arange(len(labels)), test_size=parts[2], stratify=classes, random_state=seed)
    first, middle = train_test_split(rest, test_size=parts[1], stratify=classes[rest], random_state=seed)
    return torch.from_numpy(first), torch.from_numpy(middle), torch.from_numpy(last)


def noisy(labels: Tensor, *, share: float, classes: int, seed: int) -> Tensor:
    """Labels (rows,) of which each is, with chance `share`, replaced by a class drawn uniformly from all: (1 − 1/classes)·share become wrong."""
    generator = torch.Generator().manual_seed(seed)
    replaced = torch.rand(len(labels), generator=generator) < share
    drawn = torch.randint(classes, (len(labels),), generator=generator)
    return torch.where(replaced, drawn, labels)
