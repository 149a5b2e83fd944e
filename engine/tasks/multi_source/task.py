"""The multi-source task: one cut of the digits into a pool that sources learn from and the rest, of which digits 0 to 4 are the target."""

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from engine.tasks.classification import PicturesTask, pixel_statistics
from engine.tasks.multi_source.card import HIGH, POOL, ROWS, VALIDATION, Options, card
from engine.tasks.task import Split

PERMUTATION_SEED = 44


class MultiSource(PicturesTask):
    """Pixels are standardized with the pool's rows in every part, so that a source reads the target's pictures as its own."""

    card = card
    options: Options

    def load(self) -> dict[str, Split]:
        """train, validation and test of the part; the target has `transfer` as well, the inputs of its labeled and unlabeled rows."""
        bunch = load_digits()
        pixels, labels = torch.from_numpy(bunch.images).float().div(16).unsqueeze(1), torch.from_numpy(bunch.target).long()
        order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(self.options.split_seed))
        self.mean, self.scale = pixel_statistics(pixels[order[:POOL]])
        pixels, labels = ((pixels - self.mean) / self.scale)[order], labels[order]
        return self._target(pixels, labels) if self.options.part == "target" else self._source(pixels, labels)

    def _target(self, pixels: Tensor, labels: Tensor) -> dict[str, Split]:
        """The rows after the pool with labels 0 to 4, in order: labeled, unlabeled, validation, and the rest to test."""
        rows = POOL + (labels[POOL:] < 5).nonzero().squeeze(1)
        labeled, seen = self.options.labeled, self.options.labeled + self.options.unlabeled
        parts = {"train": rows[:labeled], "validation": rows[seen : seen + VALIDATION], "test": rows[seen + VALIDATION :]}
        return {name: Split(pixels[each], labels[each]) for name, each in parts.items()} | {"transfer": Split(pixels[rows[:seen]], None)}

    def _source(self, pixels: Tensor, labels: Tensor) -> dict[str, Split]:
        """The pool trains; of the rows after it the first validate and the others test. Each part changes rows, pixels or labels of both."""
        pool, rest = torch.arange(POOL), torch.arange(POOL, ROWS)
        match self.options.part:
            case "high":
                pool, rest = pool[labels[:POOL] >= 5][:HIGH], rest[labels[POOL:] >= 5]
                labels = labels - 5
            case "permuted":
                shuffle = torch.randperm(64, generator=torch.Generator().manual_seed(PERMUTATION_SEED))
                pixels, self.mean, self.scale = (
                    each.flatten(-3)[..., shuffle].view(each.shape) for each in (pixels, self.mean, self.scale)
                )
            case "random":
                labels = torch.randint(5, (ROWS,), generator=torch.Generator().manual_seed(self.options.split_seed + 1))
        parts = {"train": pool, "validation": rest[:VALIDATION], "test": rest[VALIDATION:]}
        return {name: Split(pixels[each], labels[each]) for name, each in parts.items()}
