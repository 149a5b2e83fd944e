"""The recipe of a run's experts: equal recipes make experts that are equal to the last bit."""

from typing import TYPE_CHECKING, Any

from engine.distilled_sets.buffers import machine

if TYPE_CHECKING:
    from engine.methods.mtt.method import MTT

VERSION = 1
"""Goes up when the same settings would make other experts."""


def of(method: "MTT") -> dict[str, Any]:
    """Everything that an expert's weights depend on, as JSON: data, architecture, settings, seeds and machine. Nothing of the set."""
    settings, task = method.settings.model_dump(mode="json"), method.task
    named = {name: value for name, value in settings.items() if name.startswith(("expert", "held_out")) or name in method.EXPERT_SETTINGS}
    return {
        "version": VERSION,
        **named,
        "augmentation": settings["augmentation"],
        "student": dict(method.student_blueprint),
        "task": task.card.id,
        "task_version": task.card.version,
        "task_options": task.options.model_dump(mode="json"),
        "machine": machine(method.device),
    }
