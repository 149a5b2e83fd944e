"""Method and Phase: all that a method's author needs to know.

A method is a sequence of phases over a bag of named state. `build()` puts the state on `self`; `phases()` names the acts; a phase's step
gets a batch, updates what it trains, and returns its loss terms. The runner does the rest: seeds, batches, micro-batches, logging,
evaluation, checkpoints, resume, stop.

Rules that make "killed at any step and resumed, bit for bit" true for every method:

- State is made in `build()` and nowhere else. Modules, optimizers and everything else with `state_dict`, tensors, torch.Generators, and
  plain JSON values (numbers, text, lists, dicts) are saved under their attribute's name. Frozen dataclasses, pydantic models and
  functions are taken for constants. Anything else is refused when `build()` ends, and so is an attribute first assigned later.
- `phases()` has no effects between its yields: after a resume it is walked again, and finished phases are skipped.
- Randomness comes from `self.generator`, from torch's global generator, or from a generator made in `build()`.
- A step returns its terms as tensors, as they are. It never calls `.item()`: the runner reads them without making the GPU wait.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from engine.cards import MethodCard, MethodSettings, TrainingSettings
from engine.errors import StateError
from engine.optim import Course, course_of, new_optimizer

if TYPE_CHECKING:
    from engine.tasks.task import Task

Logs = Mapping[str, Tensor]


@dataclass(slots=True)
class Batch:
    """Rows of a data set, on the run's device. `index` (batch,) int64 holds the rows' positions in the data set; `targets` may be None."""

    inputs: Tensor
    targets: Any
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, start: int, stop: int) -> "Batch":
        return Batch(self.inputs[start:stop], None if self.targets is None else self.targets[start:stop], self.index[start:stop])


BatchSource = Callable[[int, torch.Generator], Batch]


@dataclass(frozen=True)
class Phase:
    """One act. `data` is a split's name, a function of (step within the phase, generator) that makes a batch, or None for steps without one.

    `begin` runs once before the first step, `end` once after the last; each may leave artifacts and change state, never add any.
    A phase with no gradient is one whose step updates nothing.
    """

    name: str
    step: Callable[[Batch], Logs]
    steps: int
    data: str | BatchSource | None = "train"
    batch_size: int | None = None
    shuffle: bool = True
    begin: Callable[[], None] | None = None
    end: Callable[[], None] | None = None
    evaluate: bool = True


@dataclass(slots=True)
class Position:
    """Where the run is; the runner moves it. All count from 0 and name the step about to be made or being made."""

    step: int = 0
    phase_step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0


@dataclass(frozen=True)
class Length:
    """The run's budget in steps. `steps_per_epoch` counts the last partial batch."""

    steps: int
    steps_per_epoch: int

    @property
    def epochs(self) -> float:
        return self.steps / self.steps_per_epoch


@dataclass(slots=True)
class MicroBatch:
    """Which piece of the batch is being worked on. `weight` is its share of the batch's rows."""

    weight: float = 1.0
    last: bool = True


@dataclass(frozen=True)
class Diagnostics:
    """What a method can tell of itself at an evaluation: numbers by name, and JSON tables for pictures."""

    metrics: Mapping[str, float | None] = field(default_factory=dict)
    tables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Surroundings:
    """What the runner hands to a method."""

    task: "Task"
    settings: MethodSettings
    student: nn.Module
    teachers: tuple[nn.Module, ...]
    budget: Length
    device: torch.device
    generator: torch.Generator
    position: Position
    micro: MicroBatch
    log: Callable[[str], None]
    save_table: Callable[[str, Any], None]
    scaler: "torch.amp.GradScaler | None" = None


class Method:
    """The parent of all methods. Subclass it, set `card`, annotate `settings`, write `build`, `phases` and one function per act."""

    card: ClassVar[MethodCard]
    settings: MethodSettings

    def __init__(self, surroundings: Surroundings) -> None:
        self._sealed = False
        self._around = surroundings
        self._courses: dict[Optimizer, tuple[Course, float | None, list[nn.Parameter]]] = {}
        self.settings = surroundings.settings
        self.student = surroundings.student
        self.generator = surroundings.generator

    # What an author writes

    def build(self) -> None:
        """Puts all state on `self`."""

    def phases(self) -> Iterator[Phase]:
        """The acts, in order."""
        raise NotImplementedError

    def diagnostics(self) -> Diagnostics:
        """What to show beside the evaluation's numbers. Runs in eval mode without gradient; changes nothing."""
        return Diagnostics()

    def finish(self) -> None:
        """After the last phase: leaves artifacts by `self.save_table`."""

    # What an author uses

    @property
    def task(self) -> "Task":
        return self._around.task

    @property
    def teachers(self) -> tuple[nn.Module, ...]:
        """Frozen, in eval mode and without gradient unless the card asks for more."""
        return self._around.teachers

    @property
    def teacher(self) -> nn.Module:
        assert len(self.teachers) == 1, f"{self.card.id} asked for the one teacher but has {len(self.teachers)}"
        return self.teachers[0]

    @property
    def budget(self) -> Length:
        return self._around.budget

    @property
    def position(self) -> Position:
        return self._around.position

    @property
    def device(self) -> torch.device:
        return self._around.device

    def log(self, text: str) -> None:
        """A line for people, on the run's page."""
        self._around.log(text)

    def save_table(self, name: str, content: Any) -> None:
        """Leaves a JSON artifact."""
        self._around.save_table(name, content)

    def make_optimizer(
        self, module: nn.Module | Iterable[nn.Parameter], settings: TrainingSettings | None = None, *, steps: int | None = None
    ) -> Optimizer:
        """An optimizer with its schedule and clipping, from the run's settings unless others are given. `steps`: the schedule's length."""
        settings = settings or self.settings  # type: ignore[assignment]
        assert isinstance(settings, TrainingSettings), f"{self.card.id}: make_optimizer needs TrainingSettings, got {type(settings).__name__}"
        parameters = [p for p in (module.parameters() if isinstance(module, nn.Module) else module) if p.requires_grad]
        optimizer = new_optimizer(parameters, settings)
        course = course_of(settings, steps=steps or self.budget.steps, steps_per_epoch=self.budget.steps_per_epoch)
        self._courses[optimizer] = (course, settings.gradient_clip, parameters)
        return optimizer

    def update(self, optimizer: Optimizer, loss: Tensor, *, retain_graph: bool = False) -> None:
        """Backward into this optimizer's parameters only; after the batch's last micro-batch also clipping, schedule and step."""
        course, clip, parameters = self._courses[optimizer]
        micro, scaler = self._around.micro, self._around.scaler
        if micro.weight != 1.0:
            loss = loss * micro.weight
        (scaler.scale(loss) if scaler else loss).backward(inputs=parameters, retain_graph=retain_graph)
        if not micro.last:
            return
        if clip is not None:
            if scaler:
                scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(parameters, clip)
        course.apply(optimizer)
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    # What the runner uses

    def seal(self) -> None:
        """Ends `build()`: from here on no attribute may be added."""
        self._sealed = True

    def __setattr__(self, name: str, value: Any) -> None:
        if getattr(self, "_sealed", False) and name not in self.__dict__:
            raise StateError(f"{type(self).__name__}.{name} is first assigned after build(), so no checkpoint holds it; give it a first value in build().")
        object.__setattr__(self, name, value)
