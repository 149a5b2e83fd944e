"""Whether a run can begin with the models that its spec names: of this project, finished, and of a kind that the method takes."""

import os
from uuid import UUID

from engine.errors import Problem
from engine.models.foreign import refusal
from engine.spec.cards import MethodCard, Needs, TaskCard
from engine.spec.run_spec import ModelRef, RunSpec
from webapp.accounts.models import Project
from webapp.catalog.models import ModelRecord
from webapp.runs.models import Run, State


def model_problems(project: Project, spec: RunSpec) -> list[Problem]:
    """Every `run:<id>` must be a succeeded run of this project, with a student that fits the task; of an `hf:` the workers' policy is asked, if
    this process knows it."""
    places = [(f"teachers.{index}", ref, spec.card.teachers) for index, ref in enumerate(spec.teachers)]
    if spec.student is not None:
        places.append(("student", spec.student, spec.card.student))
    ids = [UUID(ref.name) for _, ref, _ in places if ref.source == "run"]
    found = Run.objects.filter(project=project, deleted_at=None).select_related("model").in_bulk(ids) if ids else {}
    problems = []
    for field, ref, needs in places:
        sentence = refusal(ref.name, os.environ) if ref.source == "hf" else None
        if ref.source == "run" and needs is not None:
            sentence = run_misfit(found.get(UUID(ref.name)), ref, spec.card, spec.task_card, needs)
        if sentence is not None:
            problems.append(Problem(field, sentence))
    return problems


def run_misfit(run: Run | None, ref: ModelRef, method: MethodCard, task: TaskCard, needs: Needs) -> str | None:
    """Why a run's student can't be used, as a sentence; None when it can."""
    if run is None:
        return f"{ref} is not a run of this project; copy the id from the page of a finished run."
    if run.state != State.SUCCEEDED:
        return f"{ref} is {run.state}; only the student of a succeeded run can be used."
    model: ModelRecord | None = getattr(run, "model", None)
    if model is None:
        return f"{ref} left no model; choose another run."
    reason = misfit(model, method, task, needs)
    return None if reason is None else f"{ref} {reason}"


def misfit(model: ModelRecord, method: MethodCard, task: TaskCard, needs: Needs) -> str | None:
    """Why a trained model can't be used, as a sentence without its subject; None when it can."""
    if model.task_id != task.id and not needs.foreign:
        return f"was trained on the task {model.task_id}, this run is on {task.id}; choose a model of {task.id}."
    if model.kind not in needs.kinds:
        return f"is a {model.kind}; {method.id} takes a {' or '.join(needs.kinds)}."
    if model.meta.get("input_shape") != list(task.input_shape):
        return f"reads examples of another shape than those of {task.id}; choose another model."
    classes = model.meta.get("classes")
    if classes != task.classes and not needs.foreign:
        return f"tells {classes} classes apart, the task {task.id} has {task.classes}; choose a model with as many."
    return None
