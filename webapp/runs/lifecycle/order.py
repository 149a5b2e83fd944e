"""The order in which waiting runs are served: by priority, and within a priority the projects in turn.

A project's place is how many devices it has, those that its earlier runs in the queue would take counted too; among equals comes the project
that has not been served for longest, and then the run that waits longest. So one project with a thousand runs takes no more than its turn.
"""

from uuid import UUID

from django.db.models import F, OuterRef, QuerySet, Subquery, Sum, Window
from django.db.models.expressions import RowRange
from django.db.models.functions import Coalesce

from webapp.runs import quotas
from webapp.runs.lifecycle import elsewhere
from webapp.runs.models import HELD, Run, State

LOOK = 1000
"""So many runs of the queue are looked at: whatever waits behind them has not come to its turn."""


def startable() -> QuerySet[Run]:
    """The runs that wait, and that nobody wants to stop and quotas let start."""
    waiting = Run.objects.filter(state=State.QUEUED, deleted_at=None, stop_requested_at=None, project__deleted_at=None)
    return waiting.exclude(quotas.used_up().runs())


def queue(by: UUID | None = None) -> QuerySet[Run]:
    """The first startable runs in their order: of those that the worker `by` has not given away."""
    waiting = startable()
    if by is not None:
        waiting = elsewhere.not_refused(waiting, by)
    before_it = Window(
        Sum("device_count"),
        partition_by=[F("project"), F("priority")],
        order_by=[F("queued_at").asc(), F("pk").asc()],
        frame=RowRange(end=0),
    )
    held = Run.objects.filter(project=OuterRef("project"), state__in=HELD).order_by().values("project").annotate(n=Sum("device_count"))
    turn = before_it - F("device_count") + Coalesce(Subquery(held.values("n")), 0)
    placed = waiting.annotate(turn=turn)
    return placed.order_by("-priority", "turn", F("project__served_at").asc(nulls_first=True), "queued_at", "pk")[:LOOK]
