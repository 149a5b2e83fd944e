"""A run's events → rows. What has gathered is written in one fenced transaction a few times a second, with one announcement a batch.

At-least-once and without duplicates: a batch is kept until its transaction has committed, and is recognized by its number when the
connection broke in the middle of the commit. Whoever reads sees whole batches only, and a checkpoint only with all points before it.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from django.db import DatabaseError

from engine.events import Activity, Artifact, Checkpoint, Evaluation, Event, Log, Metrics, Outcome, PhaseStarted, Progress
from webapp.api.body import NO_TEXT
from webapp.finite import finite
from webapp.fleet.lag import Lags
from webapp.runs import doorbell, lifecycle, models
from webapp.runs.history import headline, points
from webapp.runs.lifecycle import ClaimedRun
from webapp.store import path_in_store
from workers import kept_checkpoints
from workers.metric_history import HistoryWriter
from workers.store import within
from workers.wire import Message, MetricBlock

EAGER_SECONDS, CALM_SECONDS = 0.25, 1.0
"""How long an event waits at most: in an attempt's first minute, when people watch, and later."""

CALM_AFTER = 60.0
FULL = 100_000
"""Points that are written at once, however young."""

LINE_LENGTH = 10_000

LAGS = Lags()
"""Of all runs of this worker; told with its heartbeat."""

E = TypeVar("E", bound=Event)


class Sink:
    """Gathers one attempt's events and writes them."""

    def __init__(self, claim: ClaimedRun) -> None:
        self.outcome: Outcome | None = None
        self.last_step = claim.from_step
        self._token, self._folder = claim.token, claim.folder
        self._history = HistoryWriter(claim.run_id, claim.attempt)
        self._began = self._flushed = time.monotonic()
        self._blocks: list[MetricBlock] = []
        self._events: list[Event] = []
        self._since: list[float] = []
        self._points = 0
        self._first = True
        self._trying: int | None = None
        self._kept: Path | None = None

    def add(self, message: Message) -> None:
        self._blocks += message.blocks
        self._events += [event for event in message.events if not isinstance(event, Activity)]  # its supervisor's affair
        self._since += [] if message.since is None else [message.since]
        self._points += sum(block.values.size for block in message.blocks)
        for event in message.events:
            if isinstance(event, Progress):
                self.last_step = event.step
            if isinstance(event, Outcome):
                self.outcome = replace(event, reason=_storable(event.reason))

    def seconds_until_due(self) -> float:
        """How long one may wait for more."""
        pace = EAGER_SECONDS if time.monotonic() - self._began < CALM_AFTER else CALM_SECONDS
        if not (self._blocks or self._events):
            return pace  # what comes next is not overdue: a worker would ask without a pause
        return 0.0 if self._points >= FULL else max(0.0, self._flushed + pace - time.monotonic())

    def is_due(self) -> bool:
        """The first points are due at once."""
        first = self._first and self._points > 0
        return bool(self._blocks or self._events) and (first or self.seconds_until_due() == 0.0)

    def flush(self, *, last: bool = False) -> None:
        """Writes what has gathered. Raises LeaseLost, or the database's errors; then what has gathered is still here."""
        self._flushed = time.monotonic()
        if not (self._blocks or self._events or last):
            return
        try:
            with lifecycle.fenced(self._token):
                newest = points.newest_batch(self._token.run_id)
                # The connection may have broken after a commit and before its confirmation: then that batch is there already.
                if self._trying is None or newest < self._trying:
                    self._trying = newest + 1
                    self._write(self._trying, last=last)
        except DatabaseError:
            self._history.forget()
            raise
        for since in self._since:
            LAGS.measured(max(0.0, time.monotonic() - since))
        self._first = self._first and not self._blocks
        if self._kept is not None:
            kept_checkpoints.forget_all_but(self._kept)
        self._kept, self._trying, self._blocks, self._events, self._since, self._points = None, None, [], [], [], 0

    def _write(self, number: int, *, last: bool) -> None:
        """Within the transaction."""
        run_id = self._token.run_id
        if self._blocks:
            self._history.write(self._blocks, number)
        if last:
            self._history.finish()
        self._write_evaluations()
        self._write_artifacts()
        self._write_lines()
        self._write_position()
        self._register_checkpoint()
        if not self._blocks and self._of(Log):
            # All else may be written twice and is the same; lines are told apart by this batch's number alone.
            models.MetricBatch.objects.create(run_id=run_id, number=number, attempt=self._token.attempt)
        kinds = {_KINDS[type(event)] for event in self._events if type(event) in _KINDS} | ({"points"} if self._blocks else set())
        if kinds:
            doorbell.announce(run_id, kinds, batch=number)

    def _write_evaluations(self) -> None:
        rows = {(event.step, event.subject, event.split, event.final): event for event in self._of(Evaluation)}
        if not rows:
            return
        models.Evaluation.objects.bulk_create(
            [
                models.Evaluation(
                    run_id=self._token.run_id,
                    attempt=self._token.attempt,
                    step=event.step,
                    subject=event.subject,
                    split=event.split,
                    final=event.final,
                    metrics=_storable(event.metrics),
                    tables=_storable(event.tables),
                )
                for event in rows.values()
            ],
            update_conflicts=True,
            unique_fields=["run", "step", "subject", "split", "final"],
            update_fields=["attempt", "metrics", "tables", "at"],
        )
        headline.refresh(self._token.run_id)

    def _write_artifacts(self) -> None:
        rows = {event.name: event for event in self._of(Artifact)}
        models.Artifact.objects.bulk_create(
            [
                models.Artifact(
                    run_id=self._token.run_id,
                    attempt=self._token.attempt,
                    name=event.name[:200],
                    kind=event.kind,
                    path=self._path(event.path),
                    bytes=event.bytes,
                    sha256=event.sha256,
                    meta=_storable(event.meta),
                )
                for event in rows.values()
            ],
            update_conflicts=True,
            unique_fields=["run", "attempt", "name"],
            update_fields=["kind", "path", "bytes", "sha256", "meta", "created_at"],
        )

    def _write_lines(self) -> None:
        models.LogLine.objects.bulk_create(
            [
                models.LogLine(
                    run_id=self._token.run_id,
                    attempt=self._token.attempt,
                    level=event.level,
                    text=_storable(event.text[:LINE_LENGTH]),
                )
                for event in self._of(Log)
            ]
        )

    def _write_position(self) -> None:
        """Where the run is: phase, step, speed."""
        changes: dict[str, Any] = {}
        for event in self._events:
            match event:
                case PhaseStarted():
                    # Another phase has another pace: until it is known, no time left is shown.
                    changes |= {"phase": event.name[:60], "phase_index": event.index, "phase_count": event.count, "steps_per_second": None}
                case Progress():
                    changes |= {
                        "phase": event.phase[:60],
                        "step": event.step,
                        "total_steps": event.total,
                        "train_seconds": event.seconds,
                        "steps_per_second": event.steps_per_second,
                    }
        if changes:
            models.Run.objects.filter(pk=self._token.run_id).update(**changes)

    def _register_checkpoint(self) -> None:
        """The newest one, kept first where the child does not delete it."""
        for checkpoint in self._of(Checkpoint)[-1:]:
            self._kept = kept_checkpoints.keep(path_in_store(self._path(checkpoint.path)), path_in_store(self._folder))
            if self._kept is not None:
                path = f"{self._folder}/{kept_checkpoints.KEPT}/{self._kept.name}"
                size = sum(file.stat().st_size for file in self._kept.iterdir())
                lifecycle.checkpointed(self._token, checkpoint.step, path, size=size)

    def _of(self, kind: type[E]) -> list[E]:
        return [event for event in self._events if isinstance(event, kind)]

    def _path(self, path: str) -> str:
        return within(self._folder, path)


def _storable(value: Any) -> Any:
    """What a child says, a JSON-like value, as PostgreSQL takes it: no number that JSON lacks, and none of the characters that its text lacks.
    A student's own text may hold any."""
    match value:
        case str():
            return NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", value)
        case dict():
            return {_storable(key): _storable(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_storable(inner) for inner in value]
    return finite(value)


_KINDS: dict[type[Any], str] = {
    Evaluation: "evaluation",
    Artifact: "artifact",
    Log: "log",
    Progress: "progress",
    PhaseStarted: "progress",
    Checkpoint: "progress",
    Metrics: "points",
}
