"""Method and Phase: all that a method's author needs to know.

A method is a sequence of phases over a bag of named state. `build()` puts the state on `self`; `phases()` names the acts; a phase's step
gets a batch, updates what it trains, and returns its loss terms. The runner does the rest: seeds, batches, micro-batches, logging,
evaluation, checkpoints, resume, stop.

Rules that make "killed at any step and resumed, bit for bit" true for every method:

- State is made in `build()` and nowhere else. Modules, optimizers and everything else with `state_dict`, tensors, torch.Generators, and
  plain JSON values (numbers, text, lists, dicts) are saved under their attribute's name. Frozen dataclasses, pydantic models and
  functions are taken for constants. Anything else is refused when `build()` ends, and so is an attribute first assigned later, or a
  constant that changes later.
- `phases()` has no effects between its yields: after a resume it is walked again, and finished phases are skipped.
- Randomness comes from `self.generator`, from torch's global generator, or from a generator made in `build()`.
- A step returns its terms as tensors, as they are. It never calls `.item()`: the runner reads them without making the GPU wait.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from engine.errors import StateError
from engine.lineage import Source
from engine.optimizers import ScheduledOptimizer, lr_schedule_of, new_optimizer
from engine.spec.cards import MethodCard, MethodSettings, OptimizerSettings

if TYPE_CHECKING:
    from engine.tasks.task import Task

Logs = Mapping[str, Tensor]


@dataclass(slots=True)
class Batch:
    """Rows of a data set, on the run's device. `inputs` and `targets` are tensors, or dicts or tuples of tensors, with rows first; `targets`
    may be None. `index` (batch,) int64 holds the rows' positions in the data set."""

    inputs: Any
    targets: Any
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, start: int, stop: int) -> "Batch":
        """The rows from `start` up to but without `stop`, as views."""
        return Batch(_rows(self.inputs, start, stop), _rows(self.targets, start, stop), self.index[start:stop])


def _rows(value: Any, start: int, stop: int) -> Any:
    match value:
        case None:
            return None
        case dict():
            return {key: _rows(item, start, stop) for key, item in value.items()}
        case tuple():
            return tuple(_rows(item, start, stop) for item in value)
    return value[start:stop]


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
        """The budget in passes over the training rows, not rounded."""
        return self.steps / self.steps_per_epoch


@dataclass(slots=True)
class MicroBatch:
    """Which piece of the batch is being worked on. `weight` is its share of the batch's rows (times the devices, which average)."""

    weight: float = 1.0
    last: bool = True


@dataclass(frozen=True)
class Diagnostics:
    """What a method reports of itself at an evaluation: numbers by name, and JSON tables for charts."""

    metrics: Mapping[str, float | None] = field(default_factory=dict)
    tables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunContext:
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
    save_tensors: Callable[[str, Mapping[str, Tensor], Mapping[str, Any]], None]
    precision: torch.dtype = torch.float32
    student_blueprint: Mapping[str, Any] = field(default_factory=dict)
    lineage: Mapping[str, tuple[Source, ...]] = field(default_factory=dict)


class Method:
    """The parent of all methods. Subclass it, set `card`, annotate `settings`, write `build`, `phases` and one function per act."""

    card: ClassVar[MethodCard]
    settings: MethodSettings
    OWN: ClassVar[frozenset[str]] = frozenset({"_context", "_scheduled", "_constants"})

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._constants: frozenset[str] | None = None  # until build() ends
        self._scheduled: dict[Optimizer, ScheduledOptimizer] = {}
        self.settings = context.settings
        self.student = context.student
        self.generator = context.generator

    # What an author writes

    def build(self) -> None:
        """Puts all state on `self`."""

    def phases(self) -> Iterator[Phase]:
        """The acts, in order."""
        raise NotImplementedError

    def product(self) -> nn.Module:
        """What is judged and exported: the student, unless the method makes another one (an average of its weights, the last generation)."""
        return self.student

    def blueprint(self) -> Mapping[str, Any] | None:
        """How the product is built, where it is not the architecture that the run began with: `builder` and `config` of engine.models, and a
        name for people as `architecture`. None for the student's own."""
        return None

    def reference(self) -> nn.Module | None:
        """The model that the student's fidelity is measured against: the one teacher, or none when there are none or several."""
        return self.teachers[0] if len(self.teachers) == 1 else None

    def diagnostics(self) -> Diagnostics:
        """What to show beside the evaluation's numbers. Runs in eval mode without gradient; changes nothing."""
        return Diagnostics()

    def judged(self, metrics: Mapping[str, float | None], *, final: bool) -> None:
        """After each evaluation on the validation rows, `final` for the one at the run's end, with what the task found of the product. May keep
        state, as a step does, and leave artifacts; must not change what is learned, because how often a run is judged must not either. Of
        several devices only the leading one judges."""

    def reads(self) -> tuple[str, ...]:
        """The splits whose rows it learns from: what the exported student's model.json says that it has read."""
        return ("train",)

    def lengthened(self, before: Length) -> None:
        """After a resume with a larger budget than `before`, when the state is back: makes room in what was made for so many steps. What is a
        function of `self.budget` needs nothing. Raises SpecError where the run can't be made longer."""

    def finish(self) -> None:
        """After the last phase: leaves artifacts by `self.save_table` and `self.save_tensors`."""

    @classmethod
    def upgraded_state(cls, saved: Mapping[str, Any]) -> Mapping[str, Any]:
        """The state of a checkpoint that earlier code of the method may have written, by today's attributes. `saved` holds each attribute's state
        as engine.run.state packs it; override this where an attribute got another name or moved into another one."""
        return saved

    # What an author uses

    @property
    def task(self) -> "Task":
        """The task, with its splits in memory on the run's device."""
        return self._context.task

    @property
    def teachers(self) -> tuple[nn.Module, ...]:
        """Frozen, in eval mode and without gradient unless the card asks for more."""
        return self._context.teachers

    @property
    def teacher(self) -> nn.Module:
        """The one teacher of a method that takes one."""
        assert len(self.teachers) == 1, f"{self.card.id} asked for the one teacher but has {len(self.teachers)}"
        return self.teachers[0]

    @property
    def budget(self) -> Length:
        """How many steps the run may make."""
        return self._context.budget

    @property
    def position(self) -> Position:
        """Where the run is; it moves by itself."""
        return self._context.position

    @property
    def device(self) -> torch.device:
        """Where the run's tensors are."""
        return self._context.device

    @property
    def student_blueprint(self) -> Mapping[str, Any]:
        """What the student was built of, for a method that makes more networks like it: `builder`, `config`, and `architecture`, its name."""
        return self._context.student_blueprint

    @property
    def lineage(self) -> Mapping[str, tuple[Source, ...]]:
        """What the models that the run begins with have read, by the spec's field: `student`, `teachers.0`. Random weights have no entry."""
        return self._context.lineage

    @property
    def precision(self) -> torch.dtype:
        """The dtype of the step's matrix products; weights stay in float32."""
        return self._context.precision

    def log(self, text: str) -> None:
        """A line for people, on the run's page."""
        self._context.log(text)

    def save_table(self, name: str, content: Any) -> None:
        """Leaves a JSON artifact."""
        self._context.save_table(name, content)

    def save_tensors(
        self, name: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Any] | None = None, *, charts: Mapping[str, Any] | None = None
    ) -> None:
        """Leaves tensors as a safetensors artifact, with JSON facts about them: rollouts, expert trajectories, caches. `charts`
        (engine.charts) draw what the numbers hold; they stand in the file, and the artifact's page begins with them."""
        self._context.save_tensors(name, tensors, {**(meta or {}), **({"views": dict(charts)} if charts else {})})

    def prepare(self, module: nn.Module) -> nn.Module:
        """The module to call in a step when a run has several devices: it averages gradients over them. On one device, the module itself."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return module
        return nn.parallel.DistributedDataParallel(module, device_ids=[self.device] if self.device.type == "cuda" else None)

    def make_optimizer(
        self, module: nn.Module | Iterable[nn.Parameter], settings: OptimizerSettings | None = None, *, steps: int | None = None
    ) -> Optimizer:
        """An optimizer with its schedule and clipping, from the run's settings unless others are given. `steps`: the schedule's length."""
        settings = settings or self.settings  # type: ignore[assignment]
        assert isinstance(settings, OptimizerSettings), (
            f"{self.card.id}: make_optimizer needs OptimizerSettings, got {type(settings).__name__}"
        )
        parameters = [p for p in (module.parameters() if isinstance(module, nn.Module) else module) if p.requires_grad]
        optimizer = new_optimizer(parameters, settings)
        schedule = lr_schedule_of(optimizer, settings, steps=steps or self.budget.steps, steps_per_epoch=self.budget.steps_per_epoch)
        scaler = torch.amp.GradScaler(self.device.type) if self._context.precision is torch.float16 else None
        self._scheduled[optimizer] = ScheduledOptimizer(optimizer, schedule, settings.gradient_clip, parameters, scaler)
        return optimizer

    def update(self, optimizer: Optimizer, loss: Tensor, *, retain_graph: bool = False) -> None:
        """Backward into this optimizer's parameters only; after the batch's last micro-batch also clipping, schedule and step."""
        scheduled, micro = self._scheduled[optimizer], self._context.micro
        reduced = self._context.precision is not torch.float32
        if micro.weight != 1.0:
            loss = loss * micro.weight
        if scheduled.scaler is not None:
            loss = scheduled.scaler.scale(loss)
        trained = [parameter for parameter in scheduled.parameters if parameter.requires_grad]
        if reduced:
            with torch.autocast(self.device.type, enabled=False):
                loss.backward(inputs=trained, retain_graph=retain_graph)
        else:
            loss.backward(inputs=trained, retain_graph=retain_graph)
        if micro.last:
            scheduled.step()
            if reduced:
                torch.clear_autocast_cache()  # it holds low-precision copies of the weights as they were before this step

    # What the runner uses

    @property
    def learning_rates(self) -> dict[str, float]:
        """The rate of the newest update of each optimizer of `make_optimizer`, by attribute."""
        return {name: scheduled.schedule.newest_rate for name, scheduled in self._by_attribute()}

    @property
    def scalers(self) -> "dict[str, torch.amp.GradScaler]":
        """The loss scalers of float16, by their optimizer's attribute."""
        return {name: scheduled.scaler for name, scheduled in self._by_attribute() if scheduled.scaler is not None}

    def _by_attribute(self) -> Iterator[tuple[str, ScheduledOptimizer]]:
        for name, value in vars(self).items():
            if isinstance(value, Optimizer) and value in self._scheduled:
                yield name, self._scheduled[value]

    @property
    def constants(self) -> frozenset[str]:
        """Names of the attributes that no checkpoint holds, because `build()` alone brings them back."""
        return self._constants or frozenset()

    def seal(self, *, constants: frozenset[str]) -> None:
        """Ends `build()`: from here on no attribute may be added, and none of `constants` may change."""
        self._constants = constants

    def __setattr__(self, name: str, value: Any) -> None:
        constants = self.__dict__.get("_constants")
        if constants is not None:
            where = f"{type(self).__name__}.{name}"
            if name not in self.__dict__:
                raise StateError(f"{where} is first assigned after build(), so no checkpoint holds it; give it a first value in build().")
            if name in constants and value is not self.__dict__[name]:
                raise StateError(
                    f"{where} is a constant to a checkpoint and was changed after build(); keep what changes in tensors or JSON values."
                )
        object.__setattr__(self, name, value)
