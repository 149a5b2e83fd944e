"""What the database knows of queue, runs, workers and store: five statements, asked at most every two seconds by one thread of a process."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Count, DurationField, ExpressionWrapper, Min, Q, Sum
from django.db.models.functions import Coalesce, Now

from webapp.fleet import tally
from webapp.fleet.models import Worker
from webapp.runs.models import HELD, Artifact, Attempt, Run, State

KEPT_SECONDS = 2.0


@dataclass(frozen=True)
class Queue:
    """The runs that wait for a kind of device."""

    runs: int
    oldest_seconds: float


@dataclass(frozen=True)
class Facts:
    """All at about one moment."""

    runs: Mapping[str, int]
    queues: Mapping[str, Queue]
    silent: int
    stalled: int
    workers: Sequence[Worker]
    artifact_bytes: int
    tally: Mapping[str, float]


class KeptFacts:
    """The newest facts of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[float, Facts] | None = None

    def newest(self) -> Facts:
        """At most two seconds old. Who comes while they are asked for waits for them."""
        with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > KEPT_SECONDS:
                self._last = time.monotonic(), ask()
            return self._last[1]

    def forget(self) -> None:
        self._last = None


KEPT = KeptFacts()


def ask() -> Facts:
    runs, queues = _runs()
    held = Attempt.objects.filter(run__state__in=HELD, ended_at=None)
    late = held.aggregate(
        silent=Count("pk", filter=Q(silent_since__isnull=False)), stalled=Count("pk", filter=Q(stalled_since__isnull=False))
    )
    return Facts(
        runs=runs,
        queues=queues,
        silent=late["silent"],
        stalled=late["stalled"],
        workers=list(Worker.objects.lately()),
        artifact_bytes=Artifact.objects.aggregate(sum=Coalesce(Sum("bytes"), 0))["sum"],
        tally=tally.newest(),
    )


def _runs() -> tuple[dict[str, int], dict[str, Queue]]:
    """By state, and of those that wait by the kind of device; without the trash and what is in a project that lies there."""
    age = ExpressionWrapper(Now() - Min("queued_at"), output_field=DurationField())
    counted = (
        Run.objects.filter(deleted_at=None, project__deleted_at=None)
        .order_by()
        .values("state", "device_kind")
        .annotate(number=Count("pk"), age=age)
    )
    runs, queues = dict.fromkeys(State.values, 0), {kind: Queue(0, 0.0) for kind in ("any", "cpu", "cuda")}
    for row in counted:
        runs[row["state"]] += row["number"]
        if row["state"] == State.QUEUED:
            queues[row["device_kind"]] = Queue(row["number"], max(0.0, row["age"].total_seconds()))
    return runs, queues
