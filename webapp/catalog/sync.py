"""The engine's cards, copied into the database: what a run may point at, and what the API and the pages show of it. No torch."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from django.db import models, transaction

from engine.spec import catalog
from engine.spec.cards import MethodCard, Needs, Preset, TaskCard
from webapp.catalog.models import Method, Task


@dataclass(frozen=True)
class Synced:
    """How many are there now, and the ids of those that are there no longer."""

    methods: int
    tasks: int
    gone: list[str]


@transaction.atomic
def sync() -> Synced:
    """Brings the rows to what the code has. A method or task that has gone stays, marked as not available: runs point at it."""
    for card in catalog.methods().values():
        Method.objects.update_or_create(id=card.id, defaults=_method_row(card))
    for task in catalog.tasks().values():
        Task.objects.update_or_create(id=task.id, defaults=_task_row(task))
    gone = _mark_gone(Method, catalog.methods()) + _mark_gone(Task, catalog.tasks())
    return Synced(methods=len(catalog.methods()), tasks=len(catalog.tasks()), gone=gone)


def method_json(card: MethodCard) -> dict[str, Any]:
    """A method's card as JSON; `settings` is a JSON schema with defaults, limits and descriptions, from which a form can be drawn."""
    return {
        "settings": card.settings.model_json_schema(),
        "presets": {name: preset_json(preset) for name, preset in card.presets.items()},
        "student": needs_json(card.student),
        "teachers": needs_json(card.teachers) if card.teachers else None,
        "baseline": card.baseline,
        "task": card.task,
        "epochs": card.epochs,
        "steps": card.steps,
    }


def task_json(card: TaskCard) -> dict[str, Any]:
    """A task's card as JSON; `options` is a JSON schema."""
    return {
        "options": card.options.model_json_schema(),
        "architectures": {name: asdict(architecture) for name, architecture in card.architectures.items()},
        "student": card.student,
        "kinds": list(card.kinds),
        "teacher": card.teacher,
        "teacher_method": card.teacher_method,
        "teacher_preset": preset_json(card.teacher_preset) if card.teacher_preset else None,
        "headline": list(card.headline),
        "input_shape": list(card.input_shape),
        "classes": card.classes,
        "train_rows": card.train_rows,
        "extra": card.extra,
    }


def preset_json(preset: Preset) -> dict[str, Any]:
    return {"description": preset.description, "settings": dict(preset.settings), "budget": dict(preset.budget)}


def needs_json(needs: Needs) -> dict[str, Any]:
    return {
        "kinds": list(needs.kinds),
        "at_least": needs.at_least,
        "at_most": needs.at_most,
        "access": needs.access,
        "trained_weights": needs.trained_weights,
        "foreign": needs.foreign,
    }


def _method_row(card: MethodCard) -> dict[str, Any]:
    return {
        "version": card.version,
        "family": card.family,
        "title": card.title,
        "summary": card.summary,
        "paper": card.paper,
        "card": method_json(card),
        "readme": _readme(card),
        "available": True,
    }


def _readme(card: MethodCard) -> str:
    """The method's page; a method whose page is yet to be written is listed without one."""
    try:
        return catalog.readme(card.id)
    except FileNotFoundError:
        return ""


def _task_row(card: TaskCard) -> dict[str, Any]:
    return {
        "version": card.version,
        "kind": card.kind,
        "title": card.title,
        "summary": card.summary,
        "card": task_json(card),
        "available": True,
    }


def _mark_gone(model: type[models.Model], there: Collection[str]) -> list[str]:
    gone = model._default_manager.exclude(pk__in=there).filter(available=True)
    ids = list(gone.values_list("pk", flat=True))
    gone.update(available=False)
    return ids
