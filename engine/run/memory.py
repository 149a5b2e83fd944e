"""What a run needs in memory at least, known before anything is allocated: its networks are built of fake tensors, which hold no numbers.

Counted are the student's weights and their gradients, the teachers' weights, and what the student keeps of one batch for its backward
pass. An optimizer's moments, further copies and the data come on top, so a run that does not fit by this count can't fit.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.filesize import decimal
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from engine import seeds
from engine.errors import EngineError
from engine.models.build import build
from engine.spec.cards import TaskCard
from engine.spec.run_spec import ModelRef, RunSpec


class TooLargeError(EngineError):
    """A run needs more memory than it may have. `needed` and `allowed` are bytes."""

    def __init__(self, needs: "MemoryNeeds", allowed: int) -> None:
        self.needed, self.allowed = needs.total, allowed
        super().__init__(
            f"The run needs at least {decimal(needs.total)} of memory and may have {decimal(allowed)} here: {decimal(needs.weights)} for weights "
            f"and gradients, {decimal(needs.activations)} for one batch. Choose a smaller model or batch_size, or a machine with more."
        )


@dataclass(frozen=True)
class MemoryNeeds:
    """Bytes. `weights` with the student's gradients; `activations` is what one micro-batch leaves for the backward pass, 0 where it can't be told."""

    weights: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.activations


def check(spec: RunSpec, models: Mapping[str, Path], allowed: int | None) -> None:
    """Raises TooLargeError when the run can't fit into `allowed` bytes; None is no limit."""
    if allowed is not None and (needs := needs_of(spec, models)).total > allowed:
        raise TooLargeError(needs, allowed)


def needs_of(spec: RunSpec, models: Mapping[str, Path]) -> MemoryNeeds:
    """What a parsed spec needs at least. `models` maps `run:<uuid>` to the folder of an exported student, whose files' size counts."""
    with seeds.undisturbed(torch.device("cpu")), FakeTensorMode():
        card, references = spec.task_card, [spec.student or ModelRef(name=spec.task_card.student), *spec.teachers]
        networks = [_without_numbers(ref, card) for ref in references]
        sizes = [_bytes_of(network) if network else _bytes_on_disk(ref, models) for ref, network in zip(references, networks, strict=True)]
        student = networks[0]
        return MemoryNeeds(sizes[0] + sum(sizes), _kept_of_a_batch(student, card, _rows_of(spec)) if student else 0)


def _without_numbers(ref: ModelRef, card: TaskCard) -> nn.Module | None:
    """A built-in network; None for a model that is read from somewhere, or that can't be built so."""
    if ref.source != "builtin":
        return None
    architecture = card.architectures[ref.name]
    with suppress(Exception):  # an estimate that is not there refuses nothing
        return build(architecture.builder, {**architecture.config, **ref.config})
    return None


def _bytes_of(network: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())


def _bytes_on_disk(ref: ModelRef, models: Mapping[str, Path]) -> int:
    folder = models.get(str(ref))
    return sum(file.stat().st_size for file in Path(folder).glob("*.safetensors")) if folder is not None else 0


def _rows_of(spec: RunSpec) -> int:
    """Rows in one micro-batch."""
    rows = int(spec.settings.get("batch_size") or spec.rows_per_epoch)
    return -(-min(rows, spec.rows_per_epoch or rows) // int(spec.settings.get("gradient_accumulation_steps") or 1))


def _kept_of_a_batch(student: nn.Module, card: TaskCard, rows: int) -> int:
    """Bytes that autograd keeps of a forward pass, each storage once, the weights not counted; 0 where the student takes none of these inputs."""
    shape = (rows, *card.input_shape)
    for inputs in ((torch.zeros(shape),), (torch.zeros(shape, dtype=torch.int64),), (torch.zeros(shape), torch.ones(rows))):
        with suppress(Exception):  # numbers, text, and what a denoiser takes: a network refuses what is not its own
            return _kept(student.train(), inputs)
    return 0


def _kept(network: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    weights = {_storage(parameter) for parameter in network.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in weights:
            kept[_storage(tensor)] = tensor  # the tensor too: a storage that is gone would give its address to the next
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(*inputs)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _storage(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address
