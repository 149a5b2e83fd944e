"""What a person can choose, described without torch: methods, tasks, their settings and their needs.

The launch form, the API's schema, the command line, validation and the reference are all made from these. A web process imports this
module, so nothing here may reach torch by any chain of imports.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from engine.spec.earlier_names import EARLIER

if TYPE_CHECKING:
    from engine.errors import Problem
    from engine.spec.run_spec import RunSpec

Kind = str
"""The id of a kind of student. `engine.spec.catalog` refuses methods and tasks that name one which no module of `engine.kinds` declares."""


class StrictModel(BaseModel):
    """A pydantic model that refuses unknown fields and does not turn "3" into 3 behind the user's back."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class MethodSettings(StrictModel):
    """What a method lets a person set. Each field has a description: form, API schema and reference show it."""

    @model_validator(mode="before")
    @classmethod
    def _accept_earlier_names(cls, settings: Any) -> Any:
        """A renamed setting may still come under its earlier name; under both only with one value."""
        if not isinstance(settings, Mapping):
            return settings
        known = {earlier: name for name, earlier in EARLIER.items() if name in cls.model_fields and earlier in settings}
        for earlier, name in known.items():
            if name in settings and settings[name] != settings[earlier]:
                sentence = f"must be left out, since it is the earlier name of {name}, which is {settings[name]!r:.80}; got {settings[earlier]!r:.80}"
                refused = InitErrorDetails(type="value_error", loc=(earlier,), input=settings[earlier], ctx={"error": ValueError(sentence)})
                raise ValidationError.from_exception_data(cls.__name__, [refused])
        return {known.get(name, name): value for name, value in settings.items()}


class TaskOptions(StrictModel):
    """What a task lets a person set: how the data is cut, spoiled or limited."""


class OptimizerSettings(MethodSettings):
    """One optimizer and its schedule: what `Method.make_optimizer` needs."""

    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw", description="Update rule of the student's weights.")
    learning_rate: float = Field(1e-2, gt=0, le=100, description="Step size at the start of the schedule.")
    weight_decay: float = Field(
        0.0, ge=0, le=10, description="Decay of all parameters (decoupled for AdamW, added to the gradient for SGD and Adam)."
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD's momentum, and the first of Adam's two betas.")
    nesterov: bool = Field(False, description="Nesterov's form of momentum (SGD only).")
    schedule: Literal["constant", "cosine", "cosine-per-epoch", "step", "step-50-75", "linear-tail"] = Field(
        "cosine-per-epoch",
        description="Schedule of the learning rate over the budget: constant; half a cosine to 0, by step or constant inside each epoch; "
        "×0.1 at 62.5, 75 and 87.5 %; ×0.1 at 50 and 75 %; or constant and in the last 30 % a line to 0.",
    )
    gradient_clip: float | None = Field(None, gt=0, description="Largest norm of the gradient over all parameters; empty for no clipping.")


class TrainingSettings(OptimizerSettings):
    """Settings of every method that trains a network with one optimizer on batches of a data set that may be cut into pieces."""

    batch_size: int = Field(64, ge=1, le=65536, description="Rows of the data set in one optimizer step.")
    gradient_accumulation_steps: int = Field(
        1,
        ge=1,
        le=1024,
        description="Cuts each batch into this many pieces, one after the other, to save memory. batch_size stays the size of the whole batch, "
        "and the gradient is that of the whole batch.",
    )


@dataclass(frozen=True)
class Needs:
    """How many models of which kind a method takes, and what it does to them.

    `access`: "frozen" (eval mode, no gradient; the runner sees to it), "gradient" (frozen but differentiable), "trained".
    `trained_weights`: whether a bare architecture with random weights is refused. `foreign`: whether models of another task, with another
    number of classes, are taken, as long as they read examples of the same shape.
    """

    kind: Kind | tuple[Kind, ...]
    at_least: int = 1
    at_most: int | None = 1
    access: Literal["frozen", "gradient", "trained"] = "frozen"
    trained_weights: bool = True
    foreign: bool = False

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds that are taken, also where it is one."""
        return self.kind if isinstance(self.kind, tuple) else (self.kind,)


@dataclass(frozen=True)
class Preset:
    """A named starting point of the form. Only what differs from the defaults is written down."""

    description: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    budget: Mapping[str, Any] = field(default_factory=dict)


def cifar_recipe(whose: str) -> Preset:
    """The CIFAR-100 schedule that most papers on image classifiers share; `whose` says who published it so."""
    return Preset(
        f"The CIFAR-100 recipe of {whose}: SGD at 0.05, divided by ten three times, 240 epochs.",
        settings={"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "step"},
        budget={"epochs": 240},
    )


TINY = Preset("A few seconds on one core.", budget={"epochs": 3})


@dataclass(frozen=True, kw_only=True)
class MethodCard:
    """One method: what it is called, what it takes, what can be set.

    `version` goes up when the same spec would give different weights. `presets` always hold "small" (the specification's small-scale
    column, equal to the defaults), "paper" (the published values) and "tiny" (a few seconds on one core, for tests).
    `baseline` is the method that a claim about this one is measured against, run with the same student, task, seed and budget. `baseline_steps`
    returns how many steps it makes where this method's run makes more than its budget: training the student before it is taught is training too.
    `task` is the one that the small experiment is made on. Without a budget a run has `steps`, or `epochs` where there are no steps.
    `data_parallel`: whether several devices may share each batch; the method then trains through `prepare`.
    `secret_randomness`: whether what the run draws comes from a secret and not from its seed, as a guarantee of privacy needs. Equal seeds
    then give different weights; resumed from its own checkpoint, which holds the secret, a run still goes on bit for bit.
    `follows` returns the values that settings have on a task where they were left empty: a spec is completed with them.
    `check` gets a completed spec and returns what the fields, each right by itself, do not allow together.
    `environment` says of each variable that the method reads on a worker what it means.
    """

    id: str
    version: int
    family: str
    title: str
    summary: str
    paper: str
    settings: type[MethodSettings]
    student: Needs
    teachers: Needs | None = None
    presets: Mapping[str, Preset]
    baseline: str | None = "supervised"
    baseline_steps: Callable[["RunSpec"], int] | None = None
    task: str = "digits"
    epochs: int = 60
    steps: int | None = None
    data_parallel: bool = False
    secret_randomness: bool = False
    follows: Callable[["TaskCard"], Mapping[str, Any]] | None = None
    check: Callable[["RunSpec"], list["Problem"]] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def left_empty(self, task: "TaskCard") -> Mapping[str, Any]:
        """The values on this task of settings that may be left empty, by name."""
        return {} if self.follows is None else self.follows(task)


@dataclass(frozen=True)
class Architecture:
    """One named network of a task. `builder` names a function in engine.models; `config` is what it is called with. `pretrained` names the
    `hf:` model that its weights begin as, all but the last layer's; None where all are random."""

    builder: str
    config: Mapping[str, Any]
    description: str
    roles: tuple[Literal["teacher", "student"], ...] = ("student",)
    pretrained: str | None = None


@dataclass(frozen=True, kw_only=True)
class TaskCard:
    """One task: the data, the networks that fit it, and what it can judge.

    `kind` is that of its usual student, `also` are further kinds that it judges: a teacher's, or those of methods that make something else
    of the same data. `input_shape` is that of one example; `classes` counts labels, or the words of a language model's vocabulary.
    `words` is the size of the vocabulary where text is classified; None where examples are no text, or their words are the classes.
    `train_rows` is 0 where examples are drawn or played and not read. `student` is the usual architecture; `students` names another one by
    the kind of what is made: the network that a data set is distilled for. The default teacher, where there is one, is a run of
    `teacher_method` with the architecture `teacher` and what `teacher_preset` says. `headline` are the numbers that a run of the usual kind
    is judged by first; other kinds have those that they declare. `extra` names the optional dependency set that brings the data.
    `reward` is what a generator is made to get more of where a run names nothing: a text that `engine.rewards` reads.
    `changes` returns which of these fields are otherwise under given options: a task of several parts has other classes in each.
    `environment` says of each variable that the task reads on a worker what it means.
    """

    id: str
    version: int
    title: str
    summary: str
    kind: Kind
    also: tuple[Kind, ...] = ()
    options: type[TaskOptions]
    input_shape: tuple[int, ...]
    classes: int | None
    train_rows: int
    words: int | None = None
    architectures: Mapping[str, Architecture]
    student: str
    students: Mapping[Kind, str] = field(default_factory=dict)
    teacher: str | None = None
    teacher_method: str = "supervised"
    teacher_preset: Preset | None = None
    headline: tuple[str, ...]
    extra: str | None = None
    reward: str | None = None
    changes: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def under(self, options: Mapping[str, Any]) -> "TaskCard":
        """The card as it is with these options; most options change nothing of it."""
        return self if self.changes is None else replace(self, **self.changes(options))

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """All that it judges, its usual student's kind first."""
        return (self.kind, *self.also)

    def kind_of(self, method: MethodCard) -> Kind | None:
        """What the method's student is on this task; None where the two don't fit."""
        return next((kind for kind in self.kinds if kind in method.student.kinds), None)

    def student_of(self, method: MethodCard) -> str:
        """The architecture that the method begins with when none is chosen."""
        kind = self.kind_of(method)
        return self.student if kind is None else self.students.get(kind, self.student)


@dataclass(frozen=True)
class MetricCard:
    """One number that a student is judged by. `better` is the direction of better, or None for a number that only describes. `short` heads
    a column where the title is too long for one. `exact` are numbers that follow from the architecture: no seed and no measuring changes them."""

    id: str
    title: str
    better: Literal["higher", "lower"] | None
    description: str
    unit: str = ""
    format: str = ".4f"
    short: str = ""
    exact: bool = False

    @property
    def head(self) -> str:
        """The title of a column."""
        return self.short or self.title


@dataclass(frozen=True, kw_only=True)
class KindCard:
    """One kind of student, declared once in `engine.kinds`: what it is called, what judges it, and what is shown of it first.

    `order` is its place where kinds are listed. `judge` names what `Task.judge` calls with the task before its own arguments, as
    `module:object`; it is loaded when something is judged, so it may need torch. `model`, in the same form, names the class of its models; it
    is needed where a task judges several kinds. `metrics` are the cards of what it is judged by; those that an earlier kind has need not be
    repeated. `headline` are the metrics that its page and the comparison begin with, `columns` those of the table of runs until somebody
    chooses others (the headline when empty), `charts` the tables by name whose charts its page begins with. `from_hub`: whether a run may
    take models of this kind as `hf:`.
    """

    id: Kind
    order: int
    title: str
    summary: str
    judge: str
    model: str | None = None
    metrics: tuple[MetricCard, ...]
    headline: tuple[str, ...]
    columns: tuple[str, ...] = ()
    charts: tuple[str, ...] = ()
    from_hub: bool = False

    @property
    def first_columns(self) -> tuple[str, ...]:
        """What the table of runs shows of it until somebody chooses."""
        return self.columns or self.headline
