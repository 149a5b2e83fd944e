"""Batches of a phase. Which rows the n-th batch holds is a pure function of the run's seed, the phase and n, so nothing of it is saved."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.method import Batch, Phase, Position
from engine.run.process_group import ProcessGroup
from engine.seeds import derived_seed
from engine.spec.epochs import steps_per_epoch

if TYPE_CHECKING:
    from engine.tasks.task import Augmentation, Split


def no_batch(device: torch.device) -> Batch:
    """What a step gets whose phase has no data: no row."""
    return Batch(torch.empty(0, device=device), None, torch.empty(0, dtype=torch.int64, device=device))


class Loader:
    """Makes the batch of the step at `position`, and keeps its epoch up to date.

    A split's rows come in a new order each epoch (in their own where the phase does not shuffle), the last partial batch included; training
    rows go through the task's augmentation. That and a batch source get a generator that is seeded anew at each step. With several devices
    each takes its share of the rows, and `share` is what its loss has to be multiplied by so that the mean over the devices is the mean over
    the whole batch's rows.
    """

    def __init__(
        self,
        phase: Phase,
        index: int,
        *,
        splits: "Mapping[str, Split]",
        batch_size: int,
        seed: int,
        device: torch.device,
        process_group: ProcessGroup,
        augment: "Augmentation | None" = None,
    ) -> None:
        self._phase, self._seed, self._device, self._process_group = phase, (seed, index), device, process_group
        self.share = 1.0
        self._generator = torch.Generator(device)
        self._split = splits[phase.data] if isinstance(phase.data, str) else None
        self._augment = augment if phase.data == "train" else None
        self._no_batch = no_batch(device)
        self._epoch = -1
        self._rows: tuple[Tensor, ...] = ()
        self._batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch(len(self._split), batch_size) if self._split is not None else max(1, phase.steps)

    def batch(self, position: Position) -> Batch:
        """The batch of the step that `position.phase_step` names."""
        position.epoch, position.step_in_epoch = divmod(position.phase_step, self.steps_per_epoch)
        if self._split is not None:
            if position.epoch != self._epoch:
                self._epoch, self._rows = position.epoch, self._order(position.epoch).split(self._batch_size)
            rows = self._rows[position.step_in_epoch]
            batch = self._split.take(rows if self._process_group.size == 1 else self._shared(rows))
            if self._augment is not None:
                self._generator.manual_seed(derived_seed(*self._seed, "augment", position.phase_step, self._process_group.rank))
                batch.inputs = self._augment(batch.inputs, self._generator)
            return batch
        if self._phase.data is None:
            return self._no_batch
        assert callable(self._phase.data)
        self._generator.manual_seed(derived_seed(*self._seed, "step", position.phase_step, self._process_group.rank))
        return self._phase.data(position.phase_step, self._generator)

    def _shared(self, rows: Tensor) -> Tensor:
        if len(rows) < self._process_group.size:  # too few to go round: all take all of them
            self.share = 1.0
            return rows
        own = rows[self._process_group.rank :: self._process_group.size]
        self.share = len(own) * self._process_group.size / len(rows)
        return own

    def _order(self, epoch: int) -> Tensor:
        assert self._split is not None
        if not self._phase.shuffle:
            return torch.arange(len(self._split), device=self._device)
        generator = torch.Generator().manual_seed(derived_seed(*self._seed, "epoch", epoch))
        return torch.randperm(len(self._split), generator=generator).to(self._device)
