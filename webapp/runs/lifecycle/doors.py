"""At which doors it is worth ringing: where a worker that lives has room for a run that waits.

Everything that is not sure counts as room, so that no ring is withheld that could be answered: memory that somebody else has taken on a GPU, and
an attempt whose worker is late.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, Q, Sum
from django.db.models.functions import Coalesce, Now

from webapp.fleet.models import Worker
from webapp.runs import doorbell
from webapp.runs.lifecycle import order
from webapp.runs.models import Attempt


@dataclass(frozen=True)
class Wish:
    """What some of the waiting runs ask for, and the workers that gave them away."""

    kind: str
    count: int
    refused: tuple[UUID, ...]


def worth_ringing(*, besides: Collection[UUID] = ()) -> list[doorbell.DeviceKind]:
    """The kinds of devices of which a worker has enough for a run that waits. `besides`: another one than these. Three statements, and two more
    where quotas limit what runs."""
    wishes = _wishes()
    workers = _with_room(besides) if wishes else []
    return [kind for kind in doorbell.KINDS if any(_serves(worker, free, kind, wish) for worker, free in workers for wish in wishes)]


def _wishes() -> list[Wish]:
    gave_away = Attempt.objects.filter(run=OuterRef("pk"), not_again=True, by__isnull=False).order_by("by")
    waiting = order.startable().order_by().annotate(refused=ArraySubquery(gave_away.values("by")))
    rows = waiting.values_list("device_kind", "device_count", "refused").distinct()
    return [Wish(kind, count, tuple(refused)) for kind, count, refused in rows]


def _with_room(besides: Collection[UUID]) -> list[tuple[Worker, int]]:
    """Those that take runs, each with how many of its devices no run holds; which they are is not known."""
    heard = Q(attempts__ended_at=None, attempts__heartbeat_at__gte=Now() - timedelta(seconds=settings.SILENT_SECONDS))
    workers = Worker.objects.live().claiming().exclude(pk__in=besides)
    held: Any = workers.annotate(held=Coalesce(Sum("attempts__run__device_count", filter=heard), 0))
    return [(worker, worker.cpu_slots + worker.gpu_count - worker.held) for worker in held]


def _serves(worker: Worker, free: int, kind: doorbell.DeviceKind, wish: Wish) -> bool:
    """Whether it may have room for the wish behind this door."""
    return wish.kind in (kind, "any") and worker.fits(kind, wish.count) and worker.pk not in wish.refused and free >= wish.count
