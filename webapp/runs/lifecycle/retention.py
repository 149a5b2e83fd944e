"""What retention does to runs that have ended: their checkpoints go, and in the end they do. Also what a restored backup does to held ones."""

from uuid import UUID

from django.db import connection, transaction
from django.db.models import CharField, Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Cast, Concat, Now

from webapp.accounts.trash import time_is_up
from webapp.runs.lifecycle.states import NO_PLACE, locked, note
from webapp.runs.lifecycle.workers import again_or_end
from webapp.runs.models import ENDED, HELD, Attempt, LogLine, MetricBatch, Run, State

RETENTION = "retention"
"""How it signs a line of history."""

BATCH = 50_000
"""Rows that one statement deletes, so that none holds its locks for long."""


def forget_checkpoint(run_id: UUID, reason: str) -> int | None:
    """The run no longer has a checkpoint to go on from. Returns the number of its last attempt; None when it is under way again, or another
    run begins with it, and it keeps it."""
    with locked(run_id) as run:
        if run.state not in ENDED or begins_another().filter(pk=run.pk).exists():
            return None
        Run.objects.filter(pk=run.pk).update(**NO_PLACE)
        if run.state != State.SUCCEEDED:
            note(run, RETENTION, reason)
        return run.attempt


def delete_for_good(run_id: UUID) -> bool:
    """Deletes an ended run with every row that is about it: the many rows first, in batches. False for one that is not to go."""
    with locked(run_id) as run:
        over = Run.objects.filter(time_is_over(), pk=run.pk).exists()
        if run.state not in ENDED or not over or begins_another().filter(pk=run.pk).exists():
            return False
    series = list(run.series.values_list("pk", flat=True))
    while delete_points(series):
        pass
    for model in (LogLine, MetricBatch):
        _delete_rows_of(run_id, model)
    with locked(run_id) as run:
        run.delete()
    return True


def delete_lines(run_id: UUID) -> bool:
    """Deletes the log of an ended run. False for one that is under way again."""
    with locked(run_id) as run:
        if run.state not in ENDED:
            return False
    _delete_rows_of(run_id, LogLine)
    return True


def give_back_all(who: str, reason: str) -> list[UUID]:
    """Ends the attempt of every held run, whose worker is of another life, and queues the run again. Returns their ids."""
    given = []
    for run_id in Run.objects.filter(state__in=HELD).order_by("pk").values_list("pk", flat=True):
        with transaction.atomic():
            run = Run.objects.select_for_update(no_key=True).get(pk=run_id)
            Attempt.objects.filter(run=run, number=run.attempt, ended_at=None).update(
                ended_at=Now(), exit="lost", reason=reason, silent_since=None
            )
            again_or_end(run, who, reason)
            given.append(run.pk)
    return given


def time_is_over() -> Q:
    """Runs that are in the trash, or whose project is, for too long to be restored: nobody can take them out while they are deleted."""
    return Q(deleted_at__lt=time_is_up()) | Q(project__deleted_at__lt=time_is_up())


def begins_another() -> "QuerySet[Run]":
    """Runs in whose folder the checkpoint lies that another run goes on from."""
    inside = Concat(Value("runs/"), Cast(OuterRef("pk"), CharField()), Value("/"))
    others = Run.objects.exclude(checkpoint_path="").exclude(pk=OuterRef("pk")).filter(checkpoint_path__startswith=inside)
    return Run.objects.filter(Exists(others))


def _delete_rows_of(run_id: UUID, model: type[LogLine] | type[MetricBatch]) -> None:
    rows = model._default_manager.filter(run=run_id)
    while keys := list(rows.values_list("pk", flat=True)[:BATCH]):
        model._default_manager.filter(pk__in=keys).delete()


def delete_points(series: list[int], *, at_most: int = BATCH) -> int:
    """Deletes so many points of these series in one statement. Returns how many there were."""
    if not series:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM runs_metricpoint WHERE ctid = ANY(ARRAY(SELECT ctid FROM runs_metricpoint WHERE series_id = ANY(%s) LIMIT %s))",
            [series, at_most],
        )
        return int(cursor.rowcount)
