"""What a run reports while it runs. A run is watched through these alone; nothing else leaves the engine but files in its folder.

Events are made on the training thread, so they are cheap to make and hold what the step had at hand: a metric may still be a tensor.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class PhaseStarted:
    """A phase began, or a resumed run came back to it. `index` counts from 0 of `count` phases (None where it is not known ahead)."""

    name: str
    index: int
    count: int | None
    step: int
    steps: int | None


@dataclass(slots=True)
class Metrics:
    """Values of one step, by series name (`loss`, `loss/teacher`). `step` counts the whole run's steps from 1. Scalars, maybe still tensors."""

    step: int
    values: "Mapping[str, Tensor | float]"


@dataclass(slots=True)
class Progress:
    """Where the run is, at most a few times a second. `seconds` is training time so far, kept over resumes."""

    step: int
    total: int
    phase: str
    seconds: float
    steps_per_second: float


STEPS = "steps"


@dataclass(slots=True)
class Activity:
    """What the training thread does from now on: STEPS, or in a word or two what has none (`the preparation`, `an evaluation`). Who watches a
    run for standing still expects news of each step, and none from the others."""

    name: str


@dataclass(slots=True)
class Evaluation:
    """How a model does. `metrics` are numbers or None where undefined; `tables` are JSON for pictures (reliability, risk_coverage, confusion)."""

    step: int
    subject: Literal["student", "teacher"]
    split: Literal["validation", "test"]
    final: bool
    metrics: dict[str, float | None]
    tables: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Artifact:
    """A file or folder is complete. `path` is relative to the run's folder, with forward slashes, never above it."""

    name: str
    kind: Literal["model", "table", "tensors", "image", "log", "other"]
    path: str
    bytes: int
    sha256: str
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Checkpoint:
    """A checkpoint is durable: fsynced and renamed. The run can go on from it, at `step`. `path` is relative to the run's folder."""

    step: int
    path: str


@dataclass(slots=True)
class Log:
    """A line for people."""

    level: Literal["debug", "info", "warning", "error"]
    text: str


@dataclass(slots=True)
class Outcome:
    """How a run ended. `reason` is one sentence. A stopped run has a checkpoint at `step`. `error` is a field's path, a loss term, or empty.
    `refused` is true where no step was made because of what the person gave: the spec, a model, data, a checkpoint. `machine` is true where
    the machine is at fault, its disk or its GPU, and another might do better. `needed` is how many bytes of memory the run needs at least, where
    it was refused for that; else 0."""

    status: Literal["succeeded", "stopped", "failed"]
    step: int
    reason: str
    error: str = ""
    refused: bool = False
    machine: bool = False
    needed: int = 0


Event = PhaseStarted | Activity | Metrics | Progress | Evaluation | Artifact | Checkpoint | Log | Outcome
