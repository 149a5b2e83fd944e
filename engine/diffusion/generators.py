"""What the methods share that distill a denoiser into a generator: how they begin, and what is drawn in every turn."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import torch
from torch import Tensor, nn

from engine.diffusion import samplers
from engine.errors import SpecError
from engine.models.denoisers import Denoiser
from engine.tasks.task import Split, Task

PROBED = 100
"""Samples whose variance is measured at an evaluation."""
COLLAPSE = 1.5


def begin(
    student: nn.Module, teacher: nn.Module, levels: Sequence[float], start: Literal["teacher", "student"]
) -> tuple[Denoiser, Denoiser]:
    """Generator and teacher. The generator gets its levels, with fresh noise between them, and with start "teacher" the teacher's weights.
    Raises SpecError at `student` or `teachers.0`."""
    if not isinstance(teacher, Denoiser):
        raise SpecError.at("teachers.0", f"must be a denoiser of this engine; got {type(teacher).__name__}.")
    if not isinstance(student, Denoiser):
        raise SpecError.at("student", f"must be a generator of this engine; got {type(student).__name__}.")
    if start == "teacher":
        try:
            student.load_state_dict(teacher.state_dict())
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise SpecError.at(
                "student", f"must have the teacher's shape to begin with its weights ({reason}); or set start to student."
            ) from None
    student.levels, student.transition = tuple(levels), "renoise"
    return student, teacher


def trainable_copy(denoiser: Denoiser) -> Denoiser:
    """A denoiser with the same weights, all of them trainable, in train mode."""
    copied = copy.deepcopy(denoiser).train().requires_grad_(True)
    copied.levels = ()
    return copied


@dataclass(frozen=True)
class Samples:
    """A generator's samples x (batch, …), the classes that were asked for (batch,) or None, and the step of its sampler that made them."""

    x: Tensor
    y: Tensor | None
    place: int


def drawn_classes(generator: Denoiser, count: int, *, random: torch.Generator) -> Tensor | None:
    """Uniformly drawn classes (count,) int64, on the device of `random`; None for a generator without classes."""
    return torch.randint(generator.classes, (count,), generator=random, device=random.device) if generator.classes else None


def drawn_samples(
    generator: Denoiser, y: Tensor | None, count: int, shape: Sequence[int], *, random: torch.Generator, places: torch.Generator
) -> Samples:
    """`count` samples, each of `shape`, of one step of the generator's sampler, the same for the whole batch, with gradient through that
    step alone.

    The step is uniformly drawn, and its input is made by the generator's own steps before it, without gradient: DMD2, section 4.5. `random` is on
    the generator's device; `places` is on the CPU, because what is run depends on it.
    """
    place = int(torch.randint(len(generator.levels), (), generator=places))
    noise = torch.randn(count, *shape, generator=random, device=random.device)
    with torch.no_grad():
        states = samplers.states(generator, noise, generator.levels, y, random)
        x = next(islice(states, place, None))
    return Samples(generator(x, x.new_full((count,), generator.levels[place]), y), y, place)


def drawn_rows(rows: Split, count: int, *, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Real examples (count, …) with replacement, and their classes (count,) or None."""
    chosen = torch.randint(len(rows), (count,), generator=random, device=random.device)
    return rows.inputs[chosen], None if rows.targets is None else rows.targets[chosen]


def variance_warning(generator: Denoiser, task: Task) -> str | None:
    """A line for the run's log when the entries of a sample vary more than those of a training row by half, on average; None otherwise."""
    samples, _ = task.draw(generator, PROBED)  # type: ignore[attr-defined]
    ratio = float(_variance(samples) / _variance(task.splits["train"].inputs))
    return f"The samples' variance is {ratio:.1f} times the data's: the generator leaves the data." if ratio > COLLAPSE else None


def _variance(examples: Tensor) -> Tensor:
    return examples.flatten(1).var(dim=1, correction=0).mean()
