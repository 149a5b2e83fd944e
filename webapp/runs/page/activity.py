"""What happened to a run: its attempts, the artifacts that they left, and its history."""

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from webapp.runs.models import Artifact, Attempt, HistoryLine, Run

MOST_HISTORY = 200


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
    stalled: bool
    reason: str
    last_lines: str


def attempts_of(run: Run) -> list[AttemptRow]:
    """Newest first."""
    return [_attempt_row(one) for one in Attempt.objects.told().filter(run=run).order_by("-number")]


def artifacts_of(run: Run) -> list[Artifact]:
    """The newest attempt's artifact of each name."""
    newest: dict[str, Artifact] = {}
    for artifact in Artifact.objects.filter(run=run).order_by("attempt"):
        newest[artifact.name] = artifact
    return sorted(newest.values(), key=lambda one: one.name)


def history_of(run: Run) -> list[HistoryLine]:
    """Newest first."""
    return list(HistoryLine.objects.filter(run=run).order_by("-id")[:MOST_HISTORY])


def _attempt_row(attempt: Attempt) -> AttemptRow:
    tones = {"crashed": "failed", "lost": "failed", "returned": "stopped"}
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
        silent_since=attempt.quiet_since,
        stalled=attempt.stalled_since is not None,
        reason=attempt.reason,
        last_lines=attempt.last_lines,
    )
