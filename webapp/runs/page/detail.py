"""What a run's page shows beside its curves: its configuration in words, attempts, artifacts, and which buttons make sense."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone
from pydantic import BaseModel

from engine.spec import catalog
from engine.spec.earlier_names import upgraded
from engine.spec.run_spec import Budget, Cadence, RunSpec
from webapp.catalog.models import ModelRecord
from webapp.launching.fields import label_of
from webapp.runs import queries, spec_table
from webapp.runs.lifecycle import ALLOWED
from webapp.runs.models import HELD, Artifact, Attempt, Evaluation, HistoryLine, LogLine, Run, State
from webapp.runs.page import scores
from webapp.runs.page.scores import Judged

LOG_LINES = 300


@dataclass(frozen=True)
class Actions:
    """What may be done with a run in its state, by someone who may."""

    stop: bool
    resume: bool
    retry: bool
    clone: bool
    delete: bool


@dataclass(frozen=True)
class AttemptRow:
    """One attempt; `seconds` runs on while it is held."""

    number: int
    worker: str
    pid: int | None
    device: str
    from_step: int
    started_at: datetime
    seconds: float
    exit: str
    tone: str
    silent_since: datetime | None
    reason: str
    last_lines: str


def actions_of(run: Run) -> Actions:
    ended_short = run.state in {State.STOPPED, State.FAILED}
    return Actions(
        stop=run.deleted_at is None and run.stop_requested_at is None and State.STOPPED in ALLOWED[State(run.state)],
        resume=run.deleted_at is None and ended_short,
        retry=run.deleted_at is None and ended_short and run.checkpoint_step is not None,
        clone=run.deleted_at is None,
        delete=run.deleted_at is None and run.state not in HELD,
    )


def attempts_of(run: Run) -> list[AttemptRow]:
    """Newest first."""
    return [_attempt_row(one) for one in Attempt.objects.filter(run=run).order_by("-number")]


def artifacts_of(run: Run) -> list[Artifact]:
    """The newest attempt's artifact of each name."""
    newest: dict[str, Artifact] = {}
    for artifact in Artifact.objects.filter(run=run).order_by("attempt"):
        newest[artifact.name] = artifact
    return sorted(newest.values(), key=lambda one: one.name)


def history_of(run: Run) -> list[HistoryLine]:
    return list(HistoryLine.objects.filter(run=run).order_by("-id")[:200])


def log_of(run: Run) -> list[LogLine]:
    """The last lines, oldest first."""
    return list(LogLine.objects.filter(run=run).order_by("-id")[:LOG_LINES])[::-1]


def teachers_of(run: Run) -> list[ModelRecord]:
    return list(run.teachers.order_by("name"))


def start_of(run: Run) -> ModelRecord | None:
    """The model with whose weights the student began, where that is the student of another run."""
    student = run.spec.get("student") or {}
    if student.get("source") != "run":
        return None
    return ModelRecord.objects.filter(project=run.project, run=student["name"]).first()


def judged_of(run: Run) -> Judged | None:
    """The newest evaluation of each subject and split: at most eight rows, whatever the run's length."""
    newest = Evaluation.objects.filter(run=run).order_by("subject", "split", "final", "-step", "-id").distinct("subject", "split", "final")
    baseline = queries.latest_by_split(run.baseline) if run.baseline is not None else {}
    return scores.judged(list(newest), number=run.number, headline=spec_table.headline_of(run.spec), baseline=baseline)


def declarations_of(spec: Mapping[str, Any]) -> dict[str, type[BaseModel] | None]:
    """The model of each part of a spec that has fields of its own; None where the method or the task is not in the catalog any more."""
    method, task = catalog.methods().get(spec.get("method", "")), catalog.tasks().get(spec.get("task", ""))
    return {
        "settings": method.settings if method else None,
        "task_options": task.options if task else None,
        "budget": Budget,
        "cadence": Cadence,
    }


def ordered(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec in the order in which it is declared; the database keeps none. What is not declared any more comes last."""
    declarations = declarations_of(spec)
    return {key: _in_order(value, declarations.get(key)) for key, value in _in_order(upgraded(spec), RunSpec).items()}


def config_of(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The spec as (name, value) in words, without what is empty."""
    lines: list[tuple[str, str]] = []
    declarations = declarations_of(spec)
    for key, value in ordered(spec).items():
        if key == "format":
            continue
        if key in declarations and isinstance(value, Mapping):
            model = declarations[key]
            fields = model.model_fields if model is not None else {}
            lines += [
                (label_of(name, fields.get(name)), _words(inner)) for name, inner in value.items() if inner is not None and inner != []
            ]
        elif value not in (None, [], {}):
            lines.append((label_of(key), _words(value)))
    return lines


def python_snippet(spec: Mapping[str, Any]) -> str:
    """Code that runs the spec on a machine with the engine, without a server."""
    text = json.dumps(ordered(spec), indent=4).replace(": null", ": None").replace(": true", ": True").replace(": false", ": False")
    return f'from pathlib import Path\n\nfrom engine.run.runner import execute\nfrom engine.spec.run_spec import RunSpec\n\nspec = RunSpec.parse({text})\noutcome = execute(spec, print, Path("run"))\n'


def student_of(spec: Mapping[str, Any]) -> str:
    return _words(spec.get("student"))


def _in_order(value: Any, model: type[BaseModel] | None) -> Any:
    if model is None or not isinstance(value, Mapping):
        return value
    return {name: value[name] for name in [*model.model_fields, *sorted(value.keys() - model.model_fields.keys())] if name in value}


def _words(value: Any) -> str:
    if isinstance(value, Mapping) and "name" in value:
        name = value["name"] if value.get("source", "builtin") == "builtin" else f"{value['source']}:{value['name']}"
        changed = ", ".join(f"{key} {inner}" for key, inner in (value.get("config") or {}).items())
        return f"{name} ({changed})" if changed else str(name)
    if isinstance(value, list):
        return ", ".join(_words(one) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _attempt_row(attempt: Attempt) -> AttemptRow:
    tones = {"crashed": "failed", "lost": "failed"}
    return AttemptRow(
        number=attempt.number,
        worker=attempt.worker,
        pid=attempt.pid,
        device=attempt.device,
        from_step=attempt.from_step,
        started_at=attempt.started_at,
        seconds=((attempt.ended_at or timezone.now()) - attempt.started_at).total_seconds(),
        exit=attempt.exit,
        tone=tones.get(attempt.exit, attempt.exit),
        silent_since=attempt.silent_since,
        reason=attempt.reason,
        last_lines=attempt.last_lines,
    )
