"""Why the numbers of a comparison may not be comparable, in sentences."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from engine.metrics.cards import METRICS
from webapp.comparing.columns import ComparedRun
from webapp.runs.models import State

TIMES = [name for name, card in METRICS.items() if card.unit == "ms"]


def of(entries: Sequence[ComparedRun]) -> list[str]:
    """All that must be said about these runs, the gravest first."""
    return [*_unfinished(entries), *_task(entries), *_splits(entries), *_tables(entries), *_versions(entries), *_devices(entries)]


def _unfinished(entries: Sequence[ComparedRun]) -> Iterator[str]:
    for entry in entries:
        run = entry.run
        if entry.student is None:
            yield f"{run.name} has not been evaluated yet; it is {run.state}."
        elif run.state != State.SUCCEEDED:
            state = {State.FAILED: "has failed", State.STOPPED: "was stopped"}.get(State(run.state), f"is {run.state}")
            yield f"{run.name} {state}; its numbers are those of step {entry.student.step:,} of {run.total_steps:,}."
    for entry in entries:
        if entry.run.deleted_at is not None:
            yield f"{entry.run.name} is in the trash."


def _task(entries: Sequence[ComparedRun]) -> Iterator[str]:
    if tasks := _several(entries, lambda entry: entry.run.task_id):
        yield f"The runs are of different tasks: {tasks}. Their numbers have nothing in common."
        return
    options = {str(sorted(entry.run.spec.get("task_options", {}).items())) for entry in entries}
    if len(options) > 1:
        yield "The runs cut or spoil the task's data in different ways (see task_options), so they are not judged on the same rows."


def _splits(entries: Sequence[ComparedRun]) -> Iterator[str]:
    if splits := _several(entries, lambda entry: entry.student and entry.student.split):
        yield f"The runs are judged on different splits: {splits}. Only those on the test split are final."


def _tables(entries: Sequence[ComparedRun]) -> Iterator[str]:
    if bins := _several(entries, lambda entry: _of_reliability(entry, "n_bins")):
        yield f"The calibration errors are over different numbers of bins: {bins}."
    if ends := _several(entries, lambda entry: _of_reliability(entry, "closed")):
        yield f"The bins of the calibration errors are closed at different ends: {ends}."
    if temperatures := _several(entries, lambda entry: _of_reliability(entry, "temperature")):
        yield f"The reliability diagrams are at different temperatures: {temperatures}."
    if rows := _several(entries, lambda entry: _of_reliability(entry, "n")):
        yield f"The runs are judged on different numbers of rows: {rows}."


def _versions(entries: Sequence[ComparedRun]) -> Iterator[str]:
    by_method: dict[str, set[int]] = {}
    for entry in entries:
        by_method.setdefault(entry.run.method_id, set()).add(entry.run.spec["method_version"])
    for method, versions in by_method.items():
        if len(versions) > 1:
            yield f"{method} was run in versions {_and(sorted(versions))}; the same settings give different weights in each."


def _devices(entries: Sequence[ComparedRun]) -> Iterator[str]:
    timed = [entry for entry in entries if entry.student and any(entry.student.metrics.get(name) is not None for name in TIMES)]
    if devices := _several(timed, lambda entry: entry.device):
        yield f"Times were measured on different devices: {devices}."


def _several(entries: Sequence[ComparedRun], value_of: Callable[[ComparedRun], Any]) -> str:
    """The different values as words; empty when all that have one agree."""
    values = {value for entry in entries if (value := value_of(entry)) not in (None, "")}
    return _and(sorted(values)) if len(values) > 1 else ""


def _and(values: Sequence[Any]) -> str:
    return f"{', '.join(str(value) for value in values[:-1])} and {values[-1]}"


def _of_reliability(entry: ComparedRun, field: str) -> Any:
    table = entry.student.tables.get("reliability") if entry.student else None
    return table.get(field) if isinstance(table, dict) else None
