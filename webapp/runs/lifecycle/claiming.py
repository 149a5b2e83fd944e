"""Which run a worker gets next, and the claim. The order is that of `order.py`, what is started where that of `placement.py`."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from webapp.accounts.models import Project
from webapp.fleet.models import Worker
from webapp.runs import doorbell, lineage
from webapp.runs.lifecycle import order
from webapp.runs.lifecycle.placement import Held, Machine, Waiting, choose
from webapp.runs.lifecycle.states import move
from webapp.runs.lifecycle.workers import Token, attempt_folder, seconds_left
from webapp.runs.models import HELD, Attempt, Run, State

PREFERRED: tuple[doorbell.DeviceKind, ...] = ("cuda", "cpu")
"""The order in which a run that takes any device is offered them."""


@dataclass(frozen=True)
class ClaimedRun:
    """A run that this worker now holds. Paths are relative to the store; `models` maps `run:<uuid>` to an exported student's folder.
    `seconds_left` is what is left of its time limit; None without one."""

    run_id: UUID
    attempt: int
    spec: dict[str, Any]
    device_kind: doorbell.DeviceKind
    device_count: int
    resume_path: str | None
    from_step: int
    models: dict[str, str]
    seconds_left: float | None = None

    @property
    def token(self) -> Token:
        return Token(self.run_id, self.attempt)

    @property
    def folder(self) -> str:
        """Where the attempt writes: `runs/<run id>/attempt-<number>`."""
        return attempt_folder(self.run_id, self.attempt)


def claim_next(
    *, worker: str, kinds: tuple[doorbell.DeviceKind, ...], free: Mapping[doorbell.DeviceKind, int], by: UUID | None = None
) -> ClaimedRun | None:
    """queued → starting for the run that this worker should begin now, or None.

    `free` is how many of its devices of each of its `kinds` are free. `by` is the worker's row in the fleet: one that is set aside or does not
    share the store gets nothing, and nobody a run that it gave away. A row that another worker is claiming is skipped, so two workers never wait
    for each other and never get the same run.
    """
    own = {kind: free.get(kind, 0) for kind in kinds}
    if not any(own.values()):
        return None
    waiting = list(order.queue(by).only("device_kind", "device_count", "seconds_limit"))
    machines = [Machine(worker, own, _held_by([by])[by] if by else ()), *_others(by)] if waiting else []
    while chosen := choose(worker, machines, map(_as_waiting, waiting)):
        run_id, kind = chosen
        if claim := _claim(run_id, kind, worker, by):
            return claim
        waiting = [run for run in waiting if run.pk != run_id]
    return None


def _claim(run_id: UUID, kind: doorbell.DeviceKind, worker: str, by: UUID | None) -> ClaimedRun | None:
    """None where another was faster, or somebody has stopped or deleted the run meanwhile."""
    with transaction.atomic():
        free_to_take = Run.objects.filter(pk=run_id, state=State.QUEUED, deleted_at=None, stop_requested_at=None)
        run = free_to_take.select_for_update(skip_locked=True, no_key=True, of=("self",)).first()
        if run is None:
            return None
        number, from_step = run.attempt + 1, run.checkpoint_step or 0
        Run.objects.filter(pk=run.pk).update(attempt=number)
        Attempt.objects.create(run=run, number=number, worker=worker, by_id=by, device_kind=kind, from_step=from_step)
        Project.objects.filter(pk=run.project_id).update(served_at=Now())
        move(run, State.STARTING, worker, f"Claimed by {worker}.")
        return ClaimedRun(
            run_id=run.pk,
            attempt=number,
            spec=run.spec,
            device_kind=kind,
            device_count=run.device_count,
            resume_path=run.checkpoint_path or None,
            from_step=from_step,
            models=lineage.models_of(run),
            seconds_left=seconds_left(run),
        )


def _as_waiting(run: Run) -> Waiting[UUID]:
    """What a run asks for. On the CPU a run has one slot. It says how long it lasts where it has a time limit of its own."""
    kinds = [kind for kind in PREFERRED if run.device_kind in (kind, "any") and (kind == "cuda" or run.device_count == 1)]
    limit = run.seconds_limit
    says = limit if limit is not None and not (settings.RUN_SECONDS and limit >= settings.RUN_SECONDS) else math.inf
    return Waiting(run.pk, tuple(kinds), run.device_count, says)


def _others(by: UUID | None) -> list[Machine]:
    """The other workers that take runs, with what they hold. Two statements."""
    others = list(Worker.objects.live().claiming().exclude(pk=by)) if by is not None else []
    held = _held_by([other.pk for other in others])
    machines = []
    for other in others:
        total: dict[doorbell.DeviceKind, int] = {"cpu": other.cpu_slots, "cuda": other.gpu_count}
        used = {kind: sum(each.count for each in held[other.pk] if each.kind == kind) for kind in total}
        machines.append(Machine(str(other.pk), {kind: max(0, total[kind] - used[kind]) for kind in total}, held[other.pk]))
    return machines


def _held_by(workers: Iterable[UUID]) -> Mapping[UUID | None, list[Held]]:
    """What the workers hold, the longest held first. An end is expected as the run's own pace says."""
    current = Attempt.objects.filter(by__in=list(workers), number=F("run__attempt"), run__state__in=HELD, ended_at=None)
    held: dict[UUID | None, list[Held]] = defaultdict(list)
    for attempt in current.select_related("run").order_by("started_at"):
        held[attempt.by_id].append(
            Held("cuda" if attempt.device_kind == "cuda" else "cpu", attempt.run.device_count, _expected_seconds(attempt.run))
        )
    return held


def _expected_seconds(run: Any) -> float:
    if run.state != State.RUNNING or not run.steps_per_second or run.total_steps <= run.step:
        return math.inf
    return float((run.total_steps - run.step) / run.steps_per_second)
