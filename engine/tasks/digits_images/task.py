"""The digits bench of generators: scikit-learn's digits as pictures in −1…1, flattened by the networks."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from engine.metrics.extractors import Extractor, principal
from engine.pictures import png
from engine.tasks.digits_images import extractor
from engine.tasks.digits_images.card import TRAIN, VALIDATION, card
from engine.tasks.generation import GenerationTask
from engine.tasks.task import Split
from engine.views import View, images

CLASSES = 10
COLUMNS, GAP, ZOOM = 8, 1, 2


def pictures_and_labels() -> dict[str, Split]:
    """The cut, the same for every run: (rows, 1, 8, 8) float32 in −1…1 and classes, each class with the same share in all parts."""
    bunch = load_digits()
    pictures = torch.from_numpy(bunch.images).float().div(8).sub(1).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).long()
    train, rest = train_test_split(np.arange(len(labels)), train_size=TRAIN, stratify=labels, random_state=0)
    validation, test = train_test_split(rest, train_size=VALIDATION, stratify=labels[rest], random_state=0)
    return {name: Split(pictures[rows], labels[rows]) for name, rows in (("train", train), ("validation", validation), ("test", test))}


class DigitsImages(GenerationTask):
    """Judged by Fréchet distances in two spaces, and by a fixed classifier of accuracy 0.98 on validation rows."""

    card = card

    def load(self) -> dict[str, Split]:
        self.classifier = extractor.load().to(self.device)
        return pictures_and_labels()

    def extractors(self) -> Sequence[Extractor]:
        return principal("digits-pca-20", self.splits["train"].inputs, 20), extractor.extractor_of(self.classifier)

    def classify(self, examples: Tensor) -> Tensor:
        seen: Tensor = self.classifier(examples).argmax(dim=1)
        return seen

    def show(self, samples: Tensor, labels: Tensor | None, *, teacher: Tensor | None, split: str) -> dict[str, View]:
        """Eight samples of each class, the teacher's from the same noise, and real ones."""
        assert labels is not None
        real = self.splits[split]
        assert real.targets is not None
        sources = {"student": (samples, labels)}
        if teacher is not None:
            sources["teacher"] = (teacher, labels[: len(teacher)])
        sources["real"] = (real.inputs, real.targets)
        pictures = [png(grid(examples, classes)) for examples, classes in sources.values()]
        note = "Each row is a class, 0 to 9; student and teacher begin from the same noise."
        return {"samples": images("Samples at fixed noise", {"": pictures}, columns=list(sources), note=note)}

    def picture(self, split: str, row: int) -> list[list[int]]:
        gray: list[list[int]] = gray_of(self.splits[split].inputs[row, 0]).mul(255).round().int().tolist()
        return gray


def gray_of(pictures: Tensor) -> Tensor:
    """Pixels in −1 (white paper)…1 (ink) as gray levels 1…0."""
    return (1 - pictures).div(2).clamp(0, 1)


def grid(pictures: Tensor, labels: Tensor) -> Tensor:
    """The first eight pictures (rows, 1, 8, 8) of each class, a row for each, as one gray picture with every pixel drawn 2×2. Gaps are white."""
    rows = []
    for digit in range(CLASSES):
        chosen = gray_of(pictures[labels == digit][:COLUMNS, 0])
        blank = chosen.new_ones(COLUMNS - len(chosen), *chosen.shape[1:])
        rows.append(torch.cat(list(F.pad(torch.cat([chosen, blank]), (0, GAP, 0, GAP), value=1.0)), dim=1))
    whole: Tensor = torch.cat(rows)[:-GAP, :-GAP]
    return whole.repeat_interleave(ZOOM, dim=0).repeat_interleave(ZOOM, dim=1)
