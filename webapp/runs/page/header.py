"""The head of a run's page: the models that it learns from, and which buttons make sense."""

from dataclasses import dataclass

from webapp.catalog.models import ModelRecord
from webapp.runs.lifecycle import ALLOWED
from webapp.runs.models import ENDED, HELD, Run, State


@dataclass(frozen=True)
class Actions:
    """What may be done with a run in its state, by someone who may."""

    stop: bool
    resume: bool
    retry: bool
    go_on: bool
    clone: bool
    delete: bool


def actions_of(run: Run) -> Actions:
    ended_short = run.state in {State.STOPPED, State.FAILED}
    return Actions(
        stop=run.deleted_at is None and run.stop_requested_at is None and State.STOPPED in ALLOWED[State(run.state)],
        resume=run.deleted_at is None and ended_short,
        retry=run.deleted_at is None and ended_short and run.checkpoint_step is not None and run.began_after is None,
        go_on=run.deleted_at is None and run.state in ENDED and bool(run.checkpoint_path),
        clone=run.deleted_at is None,
        delete=run.deleted_at is None and run.state not in HELD,
    )


def teachers_of(run: Run) -> list[ModelRecord]:
    return list(run.teachers.order_by("name"))


def start_of(run: Run) -> ModelRecord | None:
    """The model with whose weights the student began, where that is the student of another run."""
    student = run.spec.get("student") or {}
    if student.get("source") != "run":
        return None
    return ModelRecord.objects.filter(project=run.project, run=student["name"]).first()
