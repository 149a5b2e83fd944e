"""What the watchdog does: finds workers that are late and runs that were lost, and rings for what waits."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Now

from webapp.fleet import tally
from webapp.runs import doorbell
from webapp.runs.lifecycle import doors
from webapp.runs.lifecycle.workers import Token, again_or_end, worker_of
from webapp.runs.models import HELD, Attempt, Run

WATCHDOG = "watchdog"
"""How it signs a line of history."""


def requeue_expired() -> list[UUID]:
    """Takes runs from workers that were silent for longer than the lease: back into the queue, or to their end. Returns their ids.

    Two watchdogs never take the same run: the second skips the locked row, or finds the attempt ended.
    """
    taken = []
    expired = _current_attempts(settings.LEASE_SECONDS)
    for run_id in Run.objects.filter(Exists(expired), state__in=HELD).values_list("pk", flat=True):
        with transaction.atomic():
            run = Run.objects.select_for_update(skip_locked=True, no_key=True).filter(pk=run_id, state__in=HELD).first()
            if run is None:
                continue
            token = Token(run.pk, run.attempt)
            reason = f"{worker_of(token)} was silent for more than {settings.LEASE_SECONDS:g} seconds."
            # The condition again, in the statement that ends the attempt: a heartbeat may have come in between.
            ended = Attempt.objects.filter(run=run, number=run.attempt, ended_at=None, heartbeat_at__lt=_before(settings.LEASE_SECONDS))
            if ended.update(ended_at=Now(), exit="lost", reason=reason):
                tally.add({tally.ATTEMPTS + "lost": 1})
                again_or_end(run, WATCHDOG, reason)
                taken.append(run.pk)
    return taken


def mark_silent() -> list[UUID]:
    """Marks attempts whose worker has been quiet for a while; the next heartbeat takes the mark away. Returns the newly marked runs' ids."""
    with transaction.atomic():
        quiet = Run.objects.filter(Exists(_current_attempts(settings.SILENT_SECONDS).filter(silent_since=None)), state__in=HELD)
        run_ids = list(quiet.values_list("pk", flat=True))
        late = Q(heartbeat_at__lt=_before(settings.SILENT_SECONDS), ended_at=None, silent_since=None)
        Attempt.objects.filter(late, run__in=run_ids, number=F("run__attempt")).update(silent_since=Now())
        for run_id in run_ids:
            doorbell.announce(run_id, ["state"])
    return run_ids


def ring_for_waiting() -> None:
    """Rings once at each door behind which a worker has room for a run that waits: doorbells get lost, rows don't."""
    for kind in doors.worth_ringing():
        doorbell.ring(kind)


def _current_attempts(seconds: float) -> Any:
    """For Exists() in a query of runs: the run's current attempt, when its last heartbeat is older than that."""
    return Attempt.objects.filter(run=OuterRef("pk"), number=OuterRef("attempt"), ended_at=None, heartbeat_at__lt=_before(seconds))


def _before(seconds: float) -> Any:
    return Now() - timedelta(seconds=seconds)
