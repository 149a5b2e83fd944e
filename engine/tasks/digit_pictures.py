"""What the tasks share whose students make pictures of digits. A child loads its splits and its fixed classifier, and names the space that
distances are measured in first."""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.charts import ChartSpec, images
from engine.metrics import inception
from engine.metrics.extractors import Extractor, principal
from engine.pictures import png
from engine.tasks.fixed_classifier import Classifier, extractor_of
from engine.tasks.generation import GenerationTask
from engine.tasks.options import PictureGenerationOptions
from engine.tasks.task import Split

CLASSES, COLUMNS, GAP = 10, 8, 1


class DigitPictures(GenerationTask):
    """Pictures (1, height, width) in −1 (white paper)…1 (ink), with a class each.

    Judged by Fréchet distances in the space of the leading principal directions of the training rows and in that of the classifier, before
    them in that of Inception where the option says so, and by the classifier.
    """

    options: PictureGenerationOptions
    directions: ClassVar[tuple[str, int]]
    """Name and number of the principal directions."""
    classifier_name: ClassVar[str]
    zoom: ClassVar[int]
    """Pixels on a page for one pixel of a picture, either way."""

    def examples(self) -> tuple[dict[str, Split], Classifier]:
        """Training, validation and test rows, and the classifier, all on the CPU. Raises DataError."""
        raise NotImplementedError

    def load(self) -> dict[str, Split]:
        self.inception = inception.configured() if self.options.features == "inception" else None
        splits, classifier = self.examples()
        self.classifier = classifier.to(self.device)
        return splits

    def extractors(self) -> Sequence[Extractor]:
        name, dims = self.directions
        own = (principal(name, self.splits["train"].inputs, dims), extractor_of(self.classifier, self.classifier_name))
        return own if self.inception is None else (inception.extractor_of(self.inception.to(self.device)), *own)

    def classify(self, examples: Tensor) -> Tensor:
        seen: Tensor = self.classifier(examples).argmax(dim=1)
        return seen

    def show(self, samples: Tensor, labels: Tensor | None, *, teacher: Tensor | None, split: str) -> dict[str, ChartSpec]:
        """Eight samples of each class, the teacher's from the same noise, and real ones."""
        assert labels is not None, "every digit has a class"
        real = self.splits[split]
        assert real.targets is not None, "every digit has a class"
        sources = {"student": (samples, labels)}
        if teacher is not None:
            sources["teacher"] = (teacher, labels[: len(teacher)])
        sources["real"] = (real.inputs, real.targets)
        pictures = [png(grid(examples, classes, zoom=self.zoom)) for examples, classes in sources.values()]
        note = "Each row is a class, 0 to 9; student and teacher begin from the same noise."
        return {"samples": images("Samples at fixed noise", {"": pictures}, columns=list(sources), note=note)}

    def picture(self, split: str, row: int) -> list[list[int]]:
        gray: list[list[int]] = gray_of(self.splits[split].inputs[row, 0]).mul(255).round().int().tolist()
        return gray


def gray_of(pictures: Tensor) -> Tensor:
    """Pixels in −1 (white paper)…1 (ink) as gray levels 1…0."""
    return (1 - pictures).div(2).clamp(0, 1)


def grid(pictures: Tensor, labels: Tensor, *, zoom: int) -> Tensor:
    """The first eight pictures (rows, 1, height, width) of each class, a row for each, as one gray picture with every pixel drawn zoom × zoom.
    Gaps are white."""
    rows = []
    for digit in range(CLASSES):
        chosen = gray_of(pictures[labels == digit][:COLUMNS, 0])
        blank = chosen.new_ones(COLUMNS - len(chosen), *chosen.shape[1:])
        rows.append(torch.cat(list(F.pad(torch.cat([chosen, blank]), (0, GAP, 0, GAP), value=1.0)), dim=1))
    whole: Tensor = torch.cat(rows)[:-GAP, :-GAP]
    return whole.repeat_interleave(zoom, dim=0).repeat_interleave(zoom, dim=1)
