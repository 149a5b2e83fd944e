"""RunSpec: everything that defines a run, and the one contract between web, worker and engine. No torch.

A spec is plain JSON. `RunSpec.parse` fills in defaults, checks every field against the catalog, and refuses what does not fit with the
field's path and one sentence each (`SpecError`). A parsed spec is complete: it says every setting, so that a run can be repeated after
a default has changed.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import ErrorDetails

from engine.errors import Problem, SpecError
from engine.models.configs import CONFIGS, sizes_of_task
from engine.spec import catalog
from engine.spec.cards import Kind, MethodCard, Needs, StrictModel, TaskCard
from engine.spec.earlier_names import with_earlier_names
from engine.spec.epochs import steps_per_epoch
from engine.spec.reference import reference_text

MAX_STEPS = 100_000_000


class ModelRef(StrictModel):
    """A network by reference. As text: `mlp-16` (an architecture of the task), `run:<uuid>` (the student of an earlier run), `hf:<folder or org/name>`."""

    source: Literal["builtin", "run", "hf"] = Field(
        "builtin", description="An architecture of the task, the student of an earlier run, or a Hugging Face model."
    )
    name: str = Field(min_length=1, max_length=200, description="The architecture's name, the run's id, or the model's folder or name.")
    config: dict[str, Any] = Field(default_factory=dict, description="Changes to the architecture's configuration; built-in only.")
    init_seed: int | None = Field(None, ge=0, lt=2**63, description="Seed of the initial weights; the run's seed when empty.")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        source, colon, name = value.partition(":")
        if not colon:
            return {"source": "builtin", "name": value}
        return {"source": source, "name": name}

    @field_validator("name")
    @classmethod
    def _name_fits_its_source(cls, name: str, info: ValidationInfo) -> str:
        if info.data.get("source") == "run":
            try:
                return str(UUID(name))
            except ValueError:
                raise ValueError(f"must be the id of a run (a UUID) after run:; got {name!r:.80}") from None
        return name

    def __str__(self) -> str:
        return reference_text({"source": self.source, "name": self.name})


class Budget(StrictModel):
    """How long to train: a number of steps or of epochs, and at most so many seconds. Whichever ends first ends the run."""

    steps: int | None = Field(None, ge=1, le=MAX_STEPS, description="Optimizer steps over all phases.")
    epochs: int | None = Field(None, ge=1, le=1_000_000, description="Passes over the training rows; turned into steps.")
    seconds: float | None = Field(
        None, gt=0, le=10_000_000, description="Wall-clock limit of training; the run then ends as it would at its last step."
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            given = "neither" if self.steps is None else f"steps={self.steps} and epochs={self.epochs}"
            raise ValueError(f"must have either steps or epochs; got {given}")
        return self


class Cadence(StrictModel):
    """How often a run evaluates, writes checkpoints and sends its metrics, in steps."""

    evaluate: int | None = Field(None, ge=1, le=MAX_STEPS, description="Steps between validations; empty for twenty over the run.")
    checkpoint: int | None = Field(
        None, ge=1, le=MAX_STEPS, description="Steps between checkpoints; empty for one every ten seconds and at the end of a phase."
    )
    log: int = Field(1, ge=1, le=100_000, description="Record the loss terms at every n-th step.")


class RunSpec(StrictModel):
    """Everything that defines a run."""

    format: Literal[1] = Field(1, description="The format of this specification.")
    method: str = Field(description="How the student is trained: the id of a method of the catalog.")
    method_version: int = Field(0, ge=0, description="The method's version; filled in.")
    settings: dict[str, Any] = Field(default_factory=dict, description="The method's settings; what is left out has the method's default.")
    task: str = Field(description="What the student is trained for and judged on: the id of a task of the catalog.")
    task_options: dict[str, Any] = Field(default_factory=dict, description="The task's options; what is left out has the task's default.")
    teachers: list[ModelRef] = Field(default_factory=list, max_length=16, description="The models that teach, as many as the method takes.")
    student: ModelRef | None = Field(None, description="The network that learns; the task's usual student when empty.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of initial weights, batch order and everything else that is drawn.")
    budget: Budget | None = Field(None, description="How long to train; the method's usual number of epochs when empty.")
    cadence: Cadence = Field(default=Cadence(), description="How often to evaluate, write checkpoints and record metrics.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where one is free, else the CPU.")
    devices: int = Field(1, ge=1, le=64, description="How many devices of that kind.")
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Number format of the network's arithmetic; weights and losses stay in float32."
    )
    threads: int | None = Field(None, ge=1, le=256, description="CPU threads of the run; empty for the worker's share.")

    @classmethod
    def parse(cls, data: Any) -> "RunSpec":
        """A complete spec from JSON-like data or JSON text. Raises SpecError with every refused field."""
        if isinstance(data, str | bytes):
            try:
                data = json.loads(data)
            except (ValueError, RecursionError):
                raise SpecError.at("", "the spec must be JSON.") from None
        if not isinstance(data, Mapping):
            raise SpecError.at("", "the spec must be a JSON object with at least method and task.")
        try:
            spec = cls.model_validate(data)
        except ValidationError as error:
            raise SpecError(_problems(error)) from None
        return _completed(spec)

    def to_json(self) -> str:
        """JSON text that `parse` reads back to an equal spec."""
        return self.model_dump_json()

    def config_hash(self) -> str:
        """Sixteen hex digits that are equal for runs which differ in nothing but their seeds."""
        data = self.model_dump(mode="json", exclude={"seed": True, "student": {"init_seed"}, "cadence": True, "threads": True})
        data["settings"] = with_earlier_names(data["settings"])
        text = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def card(self) -> MethodCard:
        """The method's card."""
        return catalog.methods()[self.method]

    @property
    def task_card(self) -> TaskCard:
        """The task's card, as it is under the spec's options."""
        return catalog.tasks()[self.task].under(self.task_options)

    @property
    def kind(self) -> Kind:
        """What the student is: a classifier, a language model, a data set, …"""
        kind = self.task_card.kind_of(self.card)
        assert kind is not None, "a parsed spec has a method that fits its task"
        return kind

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run. Epochs are of the task's training rows after `train_limit`, the last partial batch counted."""
        assert self.budget is not None, "a parsed spec has a budget"
        if self.budget.steps is not None:
            return self.budget.steps
        assert self.budget.epochs is not None
        return self.budget.epochs * self.steps_per_epoch

    @property
    def rows_per_epoch(self) -> int:
        """The task's training rows after `train_limit`; 0 where examples are drawn and not read."""
        rows: int = self.task_options.get("train_limit") or self.task_card.train_rows
        return rows

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the training rows, the last partial one counted."""
        rows = self.rows_per_epoch
        batch_size: int = self.settings.get("batch_size", rows)
        return steps_per_epoch(rows, batch_size)


def problems_of(model: type[BaseModel], data: Any, *, at: str = "") -> list[Problem]:
    """What pydantic refuses in `data`, as sentences, with `at` before each path; empty when all is well."""
    try:
        model.model_validate(data)
    except ValidationError as error:
        return _problems(error, at=at)
    return []


def _completed(spec: RunSpec) -> RunSpec:
    problems: list[Problem] = []
    method = catalog.methods().get(spec.method)
    task = catalog.tasks().get(spec.task)
    if method is None:
        problems.append(Problem("method", f"there is no method {spec.method!r:.80}; choose one of {', '.join(catalog.methods())}."))
    if task is None:
        problems.append(Problem("task", f"there is no task {spec.task!r:.80}; choose one of {', '.join(catalog.tasks())}."))
    if method is None or task is None:
        raise SpecError(problems)

    problems += problems_of(method.settings, spec.settings, at="settings")
    option_problems = problems_of(task.options, spec.task_options, at="task_options")
    if not option_problems:
        task = task.under(task.options.model_validate(spec.task_options).model_dump())
    problems += option_problems
    problems += _version_problems(spec, method)
    problems += _fit_problems(spec, method, task)
    if problems:
        raise SpecError(problems)

    completed = spec.model_copy(
        update={
            "method_version": method.version,
            "settings": _settings(spec, method, task),
            "task_options": task.options.model_validate(spec.task_options).model_dump(mode="json"),
            "student": spec.student or ModelRef(name=task.student_of(method)),
            "budget": spec.budget or (Budget(steps=method.steps) if method.steps is not None else Budget(epochs=method.epochs)),
        }
    )
    if method.check is not None and (problems := method.check(completed)):
        raise SpecError(problems)
    return completed


def _settings(spec: RunSpec, method: MethodCard, task: TaskCard) -> dict[str, Any]:
    """All settings of the method: those given, the defaults, and what follows from the task where a setting was left empty."""
    settings: dict[str, Any] = method.settings.model_validate(spec.settings).model_dump(mode="json")
    return settings | {name: value for name, value in method.left_empty(task).items() if settings[name] is None}


def _version_problems(spec: RunSpec, method: MethodCard) -> list[Problem]:
    if spec.method_version in (0, method.version):
        return []
    return [
        Problem(
            "method_version",
            f"{spec.method} is at version {method.version} here, this spec asks for {spec.method_version}; leave the field out.",
        )
    ]


def _fit_problems(spec: RunSpec, method: MethodCard, task: TaskCard) -> list[Problem]:
    """Method against task, and models against both, as far as it can be known without opening a model."""
    problems = []
    if task.kind_of(method) is None:
        problems.append(
            Problem(
                "method",
                f"{method.id} trains a {' or '.join(method.student.kinds)}; the task {task.id} judges a {' or '.join(task.kinds)}. Choose a task of that kind.",
            )
        )
    if spec.budget is not None and spec.budget.epochs is not None and task.train_rows == 0:
        problems.append(Problem("budget.epochs", f"the task {task.id} has no training rows to pass over; give steps."))
    problems += _count_problems(spec, method)
    if method.teachers is not None:
        for index, teacher in enumerate(spec.teachers):
            problems += _model_problems(teacher, f"teachers.{index}", task, needs=method.teachers)
    if spec.student is not None:
        problems += _model_problems(spec.student, "student", task, needs=method.student)
    elif method.student.trained_weights:
        problems.append(Problem("student", f"{method.id} goes on from a trained model; name one as run:<id of a finished run>."))
    if spec.device == "cpu" and spec.devices > 1:
        problems.append(Problem("devices", f"a run on the CPU has one device; got {spec.devices}."))
    if spec.devices > 1 and not method.data_parallel:
        problems.append(Problem("devices", f"{method.id} runs on one device; got {spec.devices}."))
    if spec.device == "cpu" and spec.precision == "float16":
        problems.append(Problem("precision", "float16 needs a GPU; choose float32 or bfloat16 on the CPU."))
    return problems


def _count_problems(spec: RunSpec, method: MethodCard) -> list[Problem]:
    count, needs = len(spec.teachers), method.teachers
    if needs is None:
        return [Problem("teachers", f"{method.id} takes no teacher; got {count}.")] if count else []
    if count < needs.at_least:
        return [
            Problem(
                "teachers",
                f"{method.id} needs at least {needs.at_least} teacher{'s' * (needs.at_least > 1)}, for example run:<id of a finished run>; got {count}.",
            )
        ]
    if needs.at_most is not None and count > needs.at_most:
        return [Problem("teachers", f"{method.id} takes at most {needs.at_most} teacher{'s' * (needs.at_most > 1)}; got {count}.")]
    return []


def _model_problems(ref: ModelRef, field: str, task: TaskCard, *, needs: Needs) -> list[Problem]:
    if ref.source == "builtin":
        if ref.name not in task.architectures:
            return [
                Problem(field, f"the task {task.id} has no architecture {ref.name!r:.80}; choose one of {', '.join(task.architectures)}.")
            ]
        if needs.trained_weights:
            return [
                Problem(
                    field, f"{ref.name} is an architecture without trained weights; name a trained model as run:<id of a finished run>."
                )
            ]
        unknown = set(ref.config) - set(task.architectures[ref.name].config)
        if unknown:
            return [
                Problem(
                    f"{field}.config",
                    f"{ref.name} has no option {min(unknown)!r:.80}; it has {', '.join(task.architectures[ref.name].config)}.",
                )
            ]
        architecture = task.architectures[ref.name]
        refused = problems_of(CONFIGS[architecture.builder], {**architecture.config, **ref.config}, at=f"{field}.config")
        return refused or _size_problems(ref, f"{field}.config", task)
    elif ref.config:
        return [Problem(f"{field}.config", "only a built-in architecture can be configured.")]
    if ref.source == "hf" and not catalog.kinds()[task.kind].from_hub:
        return [Problem(field, _headless(ref, task))]
    return []


def _headless(ref: ModelRef, task: TaskCard) -> str:
    """Why a task whose kind of student does not come from the hub takes no `hf:` model, and what does take it."""
    if task.words is not None:
        for other in (task, *catalog.tasks().values()):
            for name, architecture in other.architectures.items():
                if architecture.pretrained == ref.name:
                    return (
                        f"{ref} is an encoder with no layer for classes: train the architecture {name} of the task {other.id}, which begins "
                        f"as it, by supervised, and name that run as run:<id>."
                    )
    takers = " and ".join(f"{kind.title}s" for kind in catalog.kinds().values() if kind.from_hub)
    return f"the task {task.id} takes built-in architectures and run:<id>; hf: models are for {takers}."


def _size_problems(ref: ModelRef, field: str, task: TaskCard) -> list[Problem]:
    """Where a changed configuration contradicts the task's examples and classes."""
    sizes = sizes_of_task(task.input_shape, task.classes, task.words)
    return [
        Problem(f"{field}.{name}", f"must be {sizes[name]} for the task {task.id}; got {given}. Leave it out.")
        for name, given in ref.config.items()
        if name in sizes and given != sizes[name]
    ]


def _problems(error: ValidationError, *, at: str = "") -> list[Problem]:
    return [Problem(".".join([at] * bool(at) + [str(part) for part in detail["loc"]]), _sentence(detail)) for detail in error.errors()]


def _sentence(detail: ErrorDetails) -> str:
    """Pydantic's finding as one sentence that says what would be right and what was given."""
    given = detail["input"]
    if detail["type"] in SENTENCES:
        length = len(given) if isinstance(given, str) else 0
        bounds = {name: _plain(bound) for name, bound in detail.get("ctx", {}).items()}
        return SENTENCES[detail["type"]].format(given=f"{given!r:.80}", length=length, **bounds)
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"]).rstrip(".") + "."
    return f"{detail['msg'][0].lower()}{detail['msg'][1:].rstrip('.')}; got {given!r:.80}."


def _plain(bound: Any) -> Any:
    """A bound as a person writes it: 0, not 0.0."""
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


WHOLE, NUMBER, TRUTH = ("must be a whole number; got {given}.", "must be a number; got {given}.", "must be true or false; got {given}.")
SENTENCES = {
    "missing": "is required.",
    "extra_forbidden": "is not a known field; remove it or check its spelling.",
    "greater_than": "must be greater than {gt}; got {given}.",
    "greater_than_equal": "must be at least {ge}; got {given}.",
    "less_than": "must be less than {lt}; got {given}.",
    "less_than_equal": "must be at most {le}; got {given}.",
    "literal_error": "must be one of {expected}; got {given}.",
    "string_too_short": "must not be empty.",
    "string_too_long": "must have at most {max_length} characters; got {length}.",
    "string_type": "must be text; got {given}.",
    "too_long": "must have at most {max_length} entries; got {actual_length}.",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), WHOLE),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), NUMBER),
    **dict.fromkeys(("bool_type", "bool_parsing"), TRUTH),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "must be a JSON object; got {given}."),
    "list_type": "must be a list; got {given}.",
}
