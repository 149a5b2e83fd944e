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

from pydantic import Field, ValidationInfo, field_validator, model_validator

from engine.errors import SpecError
from engine.spec import catalog
from engine.spec.cards import Kind, MethodCard, StrictModel, TaskCard
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
        from engine.spec.completion import examined  # which is about this class

        if isinstance(data, str | bytes):
            try:
                data = json.loads(data)
            except (ValueError, RecursionError):
                raise SpecError.at("", "the spec must be JSON.") from None
        if not isinstance(data, Mapping):
            raise SpecError.at("", "the spec must be a JSON object with at least method and task.")
        found = examined(data)
        if found.problems or found.spec is None:
            raise SpecError(found.problems)
        return found.spec

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
