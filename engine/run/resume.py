"""Whether a run may go on from a checkpoint: only from one of a run that would have trained in the same way, if not for as long."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from engine.errors import CheckpointError
from engine.method import Length
from engine.spec.budgets import growth, in_words
from engine.spec.cards import MethodCard, TaskCard
from engine.spec.earlier_names import upgraded
from engine.spec.run_spec import Budget, RunSpec

MAY_DIFFER: Final = ("budget", "cadence", "device", "devices", "threads")
"""What no weight depends on beyond rounding; and the budget, of which there may be more: see `is_larger`."""


def check_same_run(spec: RunSpec, written: Mapping[str, Any], *, card: MethodCard, task: TaskCard, folder: Path) -> RunSpec:
    """The spec of the run that wrote the checkpoint in `folder`. Raises CheckpointError, naming the first field that differs, when it is another.

    What either leaves out has its declared default: a setting that was added after a checkpoint was written is no difference.
    """
    try:
        before = completed(written, card=card, task=task)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise CheckpointError(f"The checkpoint at {folder} is of another version: its {field} is not known here.") from None
    there, here = (_by_path(one.model_dump(mode="json")) for one in (before, completed(spec.model_dump(mode="json"), card=card, task=task)))
    for field in sorted(there.keys() | here.keys()):
        if field.partition(".")[0] not in MAY_DIFFER and there.get(field) != here.get(field):
            raise CheckpointError(
                f"The checkpoint at {folder} is of another run: its {field} is {there.get(field)!r:.80}, this run's is {here.get(field)!r:.80}."
            )
    return before


def completed(spec: Mapping[str, Any], *, card: MethodCard, task: TaskCard) -> RunSpec:
    """A stored spec with all fields, settings and options of today. Raises ValidationError for what a spec does not have."""
    known = upgraded(spec)
    options = _with_defaults(known.get("task_options") or {}, task.options)
    settings = _with_defaults(known.get("settings") or {}, card.settings)
    follows = card.left_empty(task.under(options))
    settings |= {name: value for name, value in follows.items() if settings.get(name) is None}
    return RunSpec.model_validate({**known, "settings": settings, "task_options": options})


def is_larger(now: Budget, before: Budget, *, steps_per_epoch: int, folder: Path) -> bool:
    """Whether a run that goes on has a larger budget than it had. Raises CheckpointError where it is smaller."""
    found = growth(
        steps=length_of(now, steps_per_epoch).steps,
        seconds=now.seconds,
        steps_before=length_of(before, steps_per_epoch).steps,
        seconds_before=before.seconds,
    )
    if found == "smaller":
        raise CheckpointError(
            f"The checkpoint at {folder} is of a run with {in_words(before)}, this run has {in_words(now)}. "
            f"A run that goes on may have a larger budget, and no smaller one."
        )
    return found == "larger"


def length_of(budget: Budget, steps_per_epoch: int) -> Length:
    """The budget in steps, of a task and batches that make an epoch so long."""
    return Length(budget.steps or (budget.epochs or 1) * steps_per_epoch, steps_per_epoch)


def _with_defaults(given: Mapping[str, Any], declared: Any) -> dict[str, Any]:
    """What is left out of settings or options has the declared default, in JSON; a required one stays out."""
    fields = {name: field for name, field in declared.model_fields.items() if not field.is_required()}
    defaults = declared.model_construct(**{name: field.get_default(call_default_factory=True) for name, field in fields.items()})
    in_json: dict[str, Any] = defaults.model_dump(mode="json", include=set(fields))
    return in_json | dict(given)


def _by_path(value: Any, at: str = "") -> dict[str, Any]:
    """`{"settings": {"alpha": 1}}` → `{"settings.alpha": 1}`; a list is one value."""
    if not isinstance(value, dict):
        return {at: value}
    return {path: leaf for key, item in value.items() for path, leaf in _by_path(item, f"{at}.{key}" if at else key).items()}
