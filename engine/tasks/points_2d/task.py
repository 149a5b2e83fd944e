"""Points of a plane: distances are measured in the coordinates themselves."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from engine import rewards
from engine.charts import ChartSpec, scatter
from engine.metrics.extractors import Extractor, coordinates
from engine.seeds import derived_seed
from engine.tasks.generation import GenerationTask
from engine.tasks.points_2d.card import TRAIN, Options, card
from engine.tasks.points_2d.data import MIXTURES
from engine.tasks.task import Augmentation, Judgement, Split

SHOWN = 500


class Points2D(GenerationTask):
    """The splits are drawn once, by generators of their own that are the same on every machine. A batch of a pass over the training rows holds
    fresh points, and its rows say only how many; a method that draws rows by itself has 40,000 to draw from."""

    card = card
    options: Options

    def load(self) -> dict[str, Split]:
        sizes = {"train": TRAIN, "validation": self.options.held_out, "test": self.options.held_out}
        return {name: Split(self._drawn(rows, name), None) for name, rows in sizes.items()}

    def _drawn(self, rows: int, split: str) -> Tensor:
        generator = torch.Generator().manual_seed(derived_seed(card.id, self.options.mixture, split))
        return MIXTURES[self.options.mixture](rows, generator)

    def augmentation(self) -> Augmentation:
        mixture = MIXTURES[self.options.mixture]
        return lambda inputs, generator: mixture(len(inputs), generator)

    def extractors(self) -> Sequence[Extractor]:
        return (coordinates("xy", 2),)

    def judge(self, model: nn.Module, split: str, *, teacher: nn.Module | None, final: bool) -> Judgement:
        """As every task of samples; with the option `reward` also its mean over the samples."""
        judgement = super().judge(model, split, teacher=teacher, final=final)
        if self.options.reward is None:
            return judgement
        samples, labels = self.draw(model)
        scores = torch.stack([kind(samples, labels) for kind in rewards.rewards(self.options.reward)]).mean(dim=0)
        return Judgement({**judgement.metrics, "reward": _mean(scores)}, judgement.tables)

    def show(self, samples: Tensor, labels: Tensor | None, *, teacher: Tensor | None, split: str) -> dict[str, ChartSpec]:
        """Samples over the split's points, and the teacher's from the same noise."""
        groups: Mapping[str, Tensor | None] = {"data": self.splits[split].inputs, "samples": samples, "teacher, same noise": teacher}
        points = {name: _xy(rows[:SHOWN]) for name, rows in groups.items() if rows is not None}
        return {"samples": scatter("Samples and data", points, x="x", y="y", square=True, note=f"At most {SHOWN} of each.")}


def _mean(scores: Tensor) -> float | None:
    return float(scores.double().mean()) if bool(scores.isfinite().all()) else None


def _xy(points: Tensor) -> tuple[list[float], list[float]]:
    x, y = ([round(value, 3) for value in axis] for axis in points.T.tolist())
    return x, y
