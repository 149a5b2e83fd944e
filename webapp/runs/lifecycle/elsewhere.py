"""Which worker may have a run again after one gave it away: one that failed it before its first step, or did not find its checkpoint."""

from collections.abc import Sequence
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from webapp.fleet import standing
from webapp.fleet.models import Worker
from webapp.runs.models import Attempt, Run, State

RETURNED = "returned"
"""How an attempt ended whose worker gave the run back untouched: it counts as no try."""

MOST_LOOKED_AT = 200


def failed_early(run: Run, attempt: Attempt, reason: str) -> bool:
    """Counts a failure before the first step against the attempt's worker. Where another that lives would take the run, it is for this one no
    more. Returns whether it is."""
    if attempt.by_id is None:
        return False
    standing.failed(attempt.by_id, run.pk, reason)
    elsewhere = _another_would(run, [attempt.by_id, *_refused(run)])
    if elsewhere:
        Attempt.objects.filter(pk=attempt.pk).update(not_again=True)
    return elsewhere


def needs_more_memory(run: Run, attempt: Attempt, needed: int) -> bool:
    """The run can't fit into what a run may have at the attempt's worker. Where another that lives has as much, it is for this one no more. Returns
    whether it is."""
    if attempt.by_id is None:
        return False
    others = Worker.objects.live().claiming().exclude(pk__in=[attempt.by_id, *_refused(run)])
    if not any(worker.fits(run.device_kind, run.device_count) and worker.memory_for_a_run(run.device_kind) >= needed for worker in others):
        return False
    Attempt.objects.filter(pk=attempt.pk).update(not_again=True)
    return True


def made_a_step(run: Run, attempt: Attempt) -> bool:
    """Whether the attempt got anywhere; then its worker is well."""
    if attempt.pid is None or run.step <= attempt.from_step:
        return False
    if attempt.by_id is not None:
        standing.worked(attempt.by_id)
    return True


def not_refused(runs: QuerySet[Run], worker_id: UUID) -> QuerySet[Run]:
    """Those that the worker may claim, if it may claim any."""
    gave_away = Attempt.objects.filter(run=OuterRef("pk"), by=worker_id, not_again=True)
    return runs.filter(~Exists(gave_away), Exists(Worker.objects.claiming().filter(pk=worker_id)))


def forgive(run: Run) -> None:
    """A person said go: every worker may have the run again."""
    Attempt.objects.filter(run=run, not_again=True).update(not_again=False)


def forgive_where_nobody_else_is_left() -> None:
    """A run that one worker failed waits for another. When the other has gone, the first may try again; one without the checkpoint may not."""
    failed = Attempt.objects.filter(~Q(exit=RETURNED), run=OuterRef("pk"), not_again=True)
    for run in Run.objects.filter(Exists(failed), state=State.QUEUED, deleted_at=None)[:MOST_LOOKED_AT]:
        if not _another_would(run, _refused(run)):
            Attempt.objects.filter(~Q(exit=RETURNED), run=run, not_again=True).update(not_again=False)


def _another_would(run: Run, refused: Sequence[UUID]) -> bool:
    others = Worker.objects.live().claiming().exclude(pk__in=refused)
    return any(worker.fits(run.device_kind, run.device_count) for worker in others)


def _refused(run: Run) -> list[UUID]:
    return list(Worker.objects.filter(attempts__run=run, attempts__not_again=True).values_list("pk", flat=True))
