"""What the launch form offers: methods, tasks, architectures, and the trained models that the method takes; and what is missing, how to make it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from engine.spec import catalog
from engine.spec.cards import Kind, MethodCard, Needs, TaskCard
from engine.spec.reference import run_reference
from webapp.accounts.models import Project
from webapp.catalog.models import ModelRecord
from webapp.launching.fields import preset_values
from webapp.launching.fitting import misfit
from webapp.launching.form import misfit_of
from webapp.runs.history.headline import latest_values
from webapp.runs.templatetags.shown import metric
from webapp.trained_models.rows import models_of

LISTED = 200
"""Of a project's trained models the newest so many are looked at."""


@dataclass(frozen=True)
class SelectOption:
    """One option of a select; `group` is its heading. One that is `disabled` is there to be read: its label says why."""

    value: str
    label: str
    group: str = ""
    disabled: bool = False


@dataclass(frozen=True)
class Step:
    """One run of a chain: its method, the launch form's query, and whether its model is there already."""

    method: MethodCard
    query: str
    done: bool


@dataclass(frozen=True)
class Offer:
    """The trained models that can take a place in a run. `left_out` says of others why they are not here; `chain` are the runs that make one,
    where there is none."""

    models: list[SelectOption]
    left_out: list[str]
    chain: list[Step]


def method_choices(task: TaskCard) -> list[SelectOption]:
    """Methods whose student the task can judge, by family, and then the others, with the reason why they can't be launched on it."""
    cards = sorted(catalog.methods().values(), key=lambda card: (card.family, card.title))
    fitting = [SelectOption(one.id, one.title, one.family) for one in cards if task.kind_of(one) is not None]
    return fitting + [
        SelectOption(one.id, f"{one.title}: {misfit_of(one, task)}", f"Not on {task.title}", disabled=True)
        for one in cards
        if task.kind_of(one) is None
    ]


def task_choices() -> list[SelectOption]:
    return [SelectOption(one.id, one.title) for one in catalog.tasks().values()]


def student_choices(method: MethodCard, task: TaskCard, models: Sequence[SelectOption]) -> list[SelectOption]:
    """The task's architectures, unless the method goes on from trained weights; then trained models to go on from."""
    built_in = [
        SelectOption(name, f"{name}: {one.description}", "New, from a pretrained model" if one.pretrained else "New, with random weights")
        for name, one in task.architectures.items()
        if not method.student.trained_weights
    ]
    return built_in + [SelectOption(one.value, one.label, "Go on from a trained model") for one in models]


def teacher_recipe(task: TaskCard) -> dict[str, Any]:
    """The spec of the task's default teacher; nothing where it has none."""
    if task.teacher_preset is None:
        return {"task": task.id}
    settings, budget = preset_values(task.teacher_preset)
    return {"method": task.teacher_method, "task": task.id, "student": task.teacher, "settings": settings, "budget": budget}


def offers(project: Project, method: MethodCard, task: TaskCard) -> tuple[Offer, Offer]:
    """What can be the student, and what can teach. Two statements, and one more for what models were last judged by."""
    places = [method.student, *([method.teachers] if method.teachers is not None else [])]
    anywhere = any(needs.foreign for needs in places)
    models = list(models_of(project, task="" if anywhere else task.id)[:LISTED])
    accuracy = latest_values([one.run_id for one in models], "accuracy")
    models.sort(key=lambda one: (-(one.parameters or 0), -accuracy.get(one.run_id, 0.0)))
    labels = {one.pk: _label(one, accuracy.get(one.run_id), task) for one in models}
    student, *teachers = [_offer(models, labels, method, task, needs) for needs in places]
    return student, teachers[0] if teachers else Offer([], [], [])


def _offer(models: Sequence[ModelRecord], labels: dict[Any, str], method: MethodCard, task: TaskCard, needs: Needs) -> Offer:
    reasons = {one.pk: misfit(one, method, task, needs) for one in models}
    taken = [SelectOption(run_reference(one.run_id), labels[one.pk]) for one in models if reasons[one.pk] is None]
    if taken or not needs.trained_weights:
        return Offer(taken, [], [])
    counts = Counter(reason for reason in reasons.values() if reason is not None)
    first = {reason: labels[pk] for pk, reason in reversed(reasons.items()) if reason is not None}
    left_out = [f"{first[reason]} {reason}{f' So {_are(count - 1)}.' if count > 1 else ''}" for reason, count in counts.items()]
    return Offer(taken, left_out, _chain(needs, task, there={one.kind for one in models if one.task_id == task.id}))


def _are(count: int) -> str:
    return f"are {count} more" if count > 1 else "is one more"


def _chain(needs: Needs, task: TaskCard, *, there: set[Kind]) -> list[Step]:
    """The runs that lead to a model of a kind that is needed, first things first; none where no method of the task makes one."""
    steps: list[Step] = []
    wanted: Needs | None = needs
    while wanted is not None and wanted.trained_weights and len(steps) < len(catalog.kinds()):
        maker = _maker(wanted.kinds, task)
        if maker is None:
            return []
        recipe = {"recipe": "teacher"} if maker.id == task.teacher_method and task.teacher_preset is not None else {"method": maker.id}
        steps.insert(0, Step(maker, urlencode({**recipe, "task": task.id}), task.kind_of(maker) in there))
        wanted = maker.teachers
    return steps


def _maker(kinds: Sequence[Kind], task: TaskCard) -> MethodCard | None:
    """The method that makes a model of such a kind on the task and begins with none of it: the default teacher's own, else one that others are
    measured against, else the one that asks for the least."""
    makers = [one for one in catalog.methods().values() if task.kind_of(one) in kinds and not one.student.trained_weights]
    baselines = {one.baseline for one in catalog.methods().values()}
    return min(makers, key=lambda one: (one.id != task.teacher_method, one.id not in baselines, one.teachers is not None), default=None)


def _label(model: ModelRecord, accuracy: float | None, task: TaskCard) -> str:
    about = [model.architecture]
    if accuracy is not None:
        about.append(f"accuracy {metric(accuracy, 'accuracy')}")
    if model.task_id != task.id:
        about.append(f"of {model.task_id}")
    return f"{model.name} #{model.run.number} ({', '.join(about)})"
