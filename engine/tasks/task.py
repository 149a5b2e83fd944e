"""Task: what a student is trained and judged on. A task is a folder: `card.py` (no torch) and `task.py` (this class's child)."""

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import DataError, SpecError
from engine.method import Batch
from engine.spec import catalog
from engine.spec.cards import KindCard, TaskCard, TaskOptions

Augmentation = Callable[[Any, torch.Generator], Any]
"""A batch's inputs, and a generator on their device that is seeded anew for each batch → the inputs as this batch shows them."""


@dataclass(frozen=True)
class Split:
    """Rows held in memory. inputs (rows, …) float32, or int64 where they are text, targets (rows,) int64 or None. `index` of a row is its position here."""

    inputs: Tensor
    targets: Tensor | None

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: Tensor) -> Batch:
        """The batch of these rows, rows (batch,) int64."""
        return Batch(self.inputs[rows], None if self.targets is None else self.targets[rows], rows)

    def to(self, device: torch.device) -> "Split":
        """The same rows on a device."""
        return Split(self.inputs.to(device), None if self.targets is None else self.targets.to(device))


def checked(name: str, split: Split) -> Split:
    """The split called `name`. Raises DataError when it has no rows, and for a number that is not finite, whose row it names: a loss that
    becomes NaN from it would be blamed on the learning rate."""
    spoken = {"train": "training"}.get(name, name)
    if not len(split):
        raise DataError(f"The {spoken} split has no rows; it must have at least one.")
    if split.inputs.is_floating_point():
        spoiled = (~split.inputs.isfinite()).reshape(len(split), -1).any(dim=1).nonzero().flatten().tolist()
        if spoiled:
            more = f", and {len(spoiled) - 1} more rows" if len(spoiled) > 1 else ""
            raise DataError(f"Row {spoiled[0]} of the {spoken} split has NaN or infinity in its inputs{more}; mend the data.")
    return split


@dataclass(frozen=True)
class Judgement:
    """How a model does on a split: numbers by name (None where undefined) and JSON tables for pictures."""

    metrics: Mapping[str, float | None]
    tables: Mapping[str, Any] = field(default_factory=dict)


class Task:
    """The parent of all tasks. A child loads its data in `load`; what judges is declared by the kinds on its card. An instance's `card` is as it
    is under its options."""

    card: TaskCard
    options: TaskOptions

    def __init__(self, options: TaskOptions, device: torch.device) -> None:
        self.card = type(self).card.under(options.model_dump())
        self.options = options
        self.device = device
        self.splits: dict[str, Split] = {name: checked(name, split).to(device) for name, split in self.load().items()}

    def load(self) -> dict[str, Split]:
        """train, validation and test; nothing where examples are drawn or played. Raises DataError, with the install command, when the data
        is not on this machine."""
        raise NotImplementedError

    def new_model(self, architecture: str, config: Mapping[str, Any]) -> nn.Module:
        """A network of the card's architectures with random weights drawn from torch's global generator."""
        raise NotImplementedError

    def augmentation(self) -> Augmentation | None:
        """What every batch of the split `train` goes through before a method sees it; None where rows are taken as they are."""
        return None

    def open_hf(self, name: str, field: str) -> tuple[nn.Module, dict[str, Any]]:
        """A Hugging Face model, on the CPU, and its blueprint (builder, config, architecture). Raises SpecError at `field`, ModelError."""
        raise SpecError.at(field, f"the task {self.card.id} takes built-in architectures and run:<id>; got hf:{name}.")

    def judge(self, model: nn.Module, split: str, *, teacher: nn.Module | None, final: bool) -> Judgement:
        """How `model` does on a split, by what its kind declares as its judge. With a teacher, also its fidelity to it. `final` adds what is
        measured once: cost, scaled calibration."""
        judge = pkgutil.resolve_name(self._kind_of(model).judge)
        judgement: Judgement = judge(self, model, split, teacher=teacher, final=final)
        return judgement

    def _kind_of(self, model: nn.Module) -> KindCard:
        """The kind, of those that the task judges, whose models `model` is one of; the usual one where none says so."""
        declared = [catalog.kinds()[kind] for kind in self.card.kinds]
        named = (kind for kind in declared if kind.model is not None and isinstance(model, pkgutil.resolve_name(kind.model)))
        return next(named, declared[0])

    def picture(self, split: str, row: int) -> list[list[int]] | None:
        """One example as gray levels 0…255, (height, width), for tables of examples; None where a task has no pictures."""
        return None

    def text_digest(self, split: str) -> str | None:
        """SHA-256 in hexadecimal of a split's text, as the tokens that a method reads; None where there is no such split or examples are no running text."""
        return None

    def text(self, split: str, row: int) -> str | None:
        """One example to read, for tables of examples; None where a task's examples are no text."""
        return None
