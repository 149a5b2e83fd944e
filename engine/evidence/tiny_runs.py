"""Each method's smallest run: the preset `tiny` on the task of its card, after tiny runs of others have made the trained models that it needs.

What holds for every method is tested with such runs, and how much memory a method takes is measured with one.
"""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from engine.errors import EngineError
from engine.evidence.experiment import ONLY_AT_THE_END
from engine.spec import catalog
from engine.spec.cards import Kind, MethodCard, Needs, TaskCard
from engine.spec.run_spec import RunSpec

if TYPE_CHECKING:
    from engine.events import Event

Role = Literal["teacher", "student"]
REFERENCES: Final[Mapping[Role, str]] = {"teacher": f"run:{uuid.UUID(int=1)}", "student": f"run:{uuid.UUID(int=2)}"}
FEWER: Final = {"train_limit": 150, "samples": 100, "held_out": 100, "evaluation_prompts": 32}
"""Rows by the name of the option that limits them. With batches of 64, 150 rows are two and a partial one."""


class TinyRuns:
    """Tiny runs of one method. The models that they begin with are made here, of few rows, in `folder`, unless they are there already.

    `options` are the task's, `models` has the folder of each model that the specs name.
    """

    def __init__(self, card: MethodCard, folder: Path, *, task: TaskCard | None = None, options: Mapping[str, Any] | None = None) -> None:
        self.card, self.folder = card, folder
        self.task, self.options = task or catalog.tasks()[card.task], dict(options or {})
        self.models: dict[str, Path] = {}
        self.teachers = self._made("teacher", card.teachers) * (card.teachers.at_least if card.teachers is not None else 0)
        self.student = next(iter(self._made("student", card.student)), None)

    def spec(self, *, settings: Mapping[str, Any] | None = None, **fields: Any) -> RunSpec:
        """The preset's spec, with further settings and other fields where they are given."""
        tiny = self.card.presets["tiny"]
        common = {
            "method": self.card.id,
            "task": self.task.id,
            "task_options": self.options,
            "teachers": self.teachers,
            "student": self.student,
            "settings": {**tiny.settings, **(settings or {})},
            "budget": dict(tiny.budget),
            "threads": 1,
        }
        return RunSpec.parse(common | {name: value for name, value in fields.items() if value is not None})

    def _made(self, role: Role, needs: Needs | None) -> list[str]:
        """The reference of a trained model for this role, or nothing where none is needed."""
        if needs is None or not needs.trained_weights:
            return []
        kind = next(kind for kind in self.task.kinds if kind in needs.kinds)
        self.models[REFERENCES[role]] = self._trained(kind, role)
        return [REFERENCES[role]]

    def _trained(self, kind: Kind, role: Role) -> Path:
        """A model of a kind that knows something. A teacher has the architecture of the task's own, where the method that makes it lets one choose."""
        workdir = self.folder / f"{self.task.id}-{kind}-{role}"
        if not (workdir / "student").is_dir():
            card = trainer_of(kind, self.task)
            maker = TinyRuns(card, self.folder, task=self.task, options=fewer(self.task))
            architecture = self.task.teacher if role == "teacher" and card.id == self.task.teacher_method else None
            make(maker.spec(cadence=ONLY_AT_THE_END, student=architecture), workdir, maker.models)
        return workdir / "student"


def fewer(task: TaskCard) -> dict[str, int]:
    """The options that make a task's data few, as far as the task has them."""
    return {name: rows for name, rows in FEWER.items() if name in task.options.model_fields}


def trainer_of(kind: Kind, task: TaskCard) -> MethodCard:
    """What makes a model of this kind on the task from nothing."""
    usual = [catalog.methods()[task.teacher_method], *catalog.methods().values()]
    return next(card for card in usual if task.kind_of(card) == kind and not card.student.trained_weights)


def make(spec: RunSpec, workdir: Path, models: Mapping[str, Path]) -> None:
    """Makes a run in this process. Raises EngineError with the run's own sentence when it does not succeed."""
    from engine.run.runner import execute

    workdir.parent.mkdir(parents=True, exist_ok=True)
    outcome = execute(spec, _unheard, workdir, models=models)
    if outcome.status != "succeeded":
        raise EngineError(f"The tiny run of {spec.method} on {spec.task} ended as {outcome.status}: {outcome.reason}")


def _unheard(event: "Event") -> None:
    """Nobody listens to a run that only makes a model."""
