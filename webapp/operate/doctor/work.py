"""Web, workers, beat and the queue, as they were last heard of."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import httpx
from django.conf import settings
from django.db import connection
from django.db.models import Count, Max, Min
from django.db.models.functions import Now

from webapp.fleet.models import Worker
from webapp.operate.doctor.lines import Remark, graded
from webapp.operate.models import Heard
from webapp.runs.models import HELD, Attempt, Run, State

LONG = 600.0
"""Seconds that a run may wait before somebody should look why."""


def web(url: str) -> Iterator[Remark]:
    address = f"{url.rstrip('/')}/healthz"
    try:
        status = httpx.get(address, timeout=5).status_code
    except (httpx.HTTPError, httpx.InvalidURL):
        yield Remark(
            "warning", "web", f"nothing answers at {address}", "start it: make serve, or the web container; or say where it is with --url"
        )
        return
    yield graded("web", f"{address} answers {status}", problem="read its log: log/web.log" if status >= 400 else "")


def beat() -> Iterator[Remark]:
    """The watchdog's job leaves a row each time that beat rings and a worker hears it."""
    for name, every in (("watchdog", settings.WATCHDOG_SECONDS), ("retention", settings.RETAIN_SECONDS)):
        heard = Heard.objects.filter(name=name).annotate(now=Now()).first()
        if heard is None:
            yield Remark("warning", name, "never heard of", "start beat and a worker: make serve, or celery --app workers.app beat")
            continue
        ago = (heard.now - heard.at).total_seconds()
        late = "is beat running, and a worker? lost runs are taken back only while both are" if ago > 5 * every + 10 else ""
        yield graded(name, f"heard of {_span(ago)} ago{', ' + heard.detail if heard.detail else ''}", problem=late)


def workers() -> Iterator[Remark]:
    """Those that live, and whether they take runs; then the runs that are held, and those of which nothing was heard."""
    living = list(Worker.objects.live())
    if not living:
        yield Remark("warning", "workers", "none is running", "start one: make serve, or celery --app workers.app worker")
    for worker in living:
        offers = f"{worker.cpu_slots} CPU slots, {worker.gpu_count} GPUs"
        if worker.store_problem:
            remedy = "mount STILLHOUSE_STORE there as the others have it; manage.py adopt_store says that another folder is the store"
            yield Remark("problem", f"worker {worker.name}", f"{offers}; takes no runs: {worker.store_problem}", remedy)
        elif worker.is_set_aside:
            why = f"set aside until {worker.set_aside_until:%H:%M} UTC: {worker.set_aside_reason}"
            yield Remark("warning", f"worker {worker.name}", f"{offers}; {why}", "read its log, and mend its machine")
        else:
            yield Remark("ok", f"worker {worker.name}", offers)
    held = Run.objects.filter(state__in=HELD)
    current = Attempt.objects.filter(run__state__in=HELD, ended_at=None)
    names = current.values_list("worker", flat=True).distinct()
    yield Remark("ok", "runs held", f"{held.count()} by {names.count()} worker{'s' * (names.count() != 1)}")
    silent = current.filter(heartbeat_at__lt=Now() - timedelta(seconds=settings.SILENT_SECONDS))
    for attempt in silent.order_by("heartbeat_at")[:10]:
        ago = (_now() - attempt.heartbeat_at).total_seconds()
        remedy = "look at its machine; the run goes to another worker when the lease runs out, if beat and a worker run"
        yield Remark("warning", f"worker {attempt.worker}", f"silent for {_span(ago)}, holds run {attempt.run_id}", remedy)


def queue() -> Iterator[Remark]:
    waiting = Run.objects.filter(state=State.QUEUED, deleted_at=None)
    kinds = waiting.order_by().values("device_kind").annotate(count=Count("pk"), oldest=Min("queued_at")).order_by("device_kind")
    if not kinds:
        yield Remark("ok", "queue", "empty")
    for kind in kinds:
        ago = (_now() - kind["oldest"]).total_seconds()
        last_claim = Attempt.objects.aggregate(at=Max("started_at"))["at"]
        stuck = ago > LONG and (last_claim is None or last_claim < kind["oldest"])
        words = f"{kind['count']} waiting, the oldest for {_span(ago)}{'; none was claimed since' if stuck else ''}"
        yield graded(
            f"queue for {kind['device_kind']}", words, warning="is a worker running that offers this kind of device?" if stuck else ""
        )


def _now() -> datetime:
    """The database's clock, by which all of this is measured."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone() or (None,)
    assert isinstance(now, datetime)
    return now


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
