"""How a worker does: failures of runs before their first step count against it, and after several in a row it is set aside for a while.

A worker with a broken disk or GPU fails a run in a tenth of a second and is free for the next one at once; so it would fail a whole queue
beside healthy ones. Failures count by run: one run that fails wherever it is tried sets nobody aside.
"""

from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from webapp.fleet.models import Worker

LONGEST_ASIDE = 3600.0
MOST_DOUBLINGS = 10


def failed(worker_id: UUID, run_id: UUID, reason: str) -> bool:
    """A run failed there before its first step. Returns whether that sets the worker aside."""
    with transaction.atomic():
        worker = Worker.objects.select_for_update(no_key=True).filter(pk=worker_id).first()
        if worker is None:
            return False
        failures = [*(each for each in worker.failed_runs if each != run_id), run_id][-settings.WORKER_FAILURES :]
        Worker.objects.filter(pk=worker_id).update(failed_runs=failures)
        if len(failures) < settings.WORKER_FAILURES:
            return False
        seconds = min(settings.ASIDE_SECONDS * 2 ** min(worker.times_set_aside, MOST_DOUBLINGS), LONGEST_ASIDE)
        # Runs that it had begun before it was set aside may fail after that: they don't count again.
        newly = Worker.objects.not_set_aside().filter(pk=worker_id)
        return bool(
            newly.update(
                set_aside_until=Now() + timedelta(seconds=seconds), set_aside_reason=reason, times_set_aside=F("times_set_aside") + 1
            )
        )


def worked(worker_id: UUID) -> None:
    """A run made a step there: what was before is forgotten."""
    Worker.objects.filter(pk=worker_id).exclude(failed_runs=[]).update(
        failed_runs=[], set_aside_until=None, set_aside_reason="", times_set_aside=0
    )
