"""What containers and Prometheus ask: does it live, is it ready, and how much is there to do. No page shows these."""

import secrets

from django.conf import settings
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden, JsonResponse
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from webapp.gate.readiness import LOOKS
from webapp.runs.models import HELD, Attempt, Run, State

LOCAL = {"127.0.0.1", "::1"}


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """200 while this process answers at all. Asks no other: a database that is away is no reason to start the web server again."""
    return JsonResponse({"process": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when database and Redis answer and the database has this code's migrations, else 503; says what is wrong."""
    found = LOOKS.newest()
    return JsonResponse({"database": found.database, "redis": found.redis}, status=200 if found.is_ready else 503)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus metrics, for callers on this machine and for those that send the token of STILLHOUSE_METRICS_TOKEN."""
    if not _may_look(request):
        return HttpResponseForbidden(
            "Ask from this machine, or send the token of STILLHOUSE_METRICS_TOKEN as Authorization: Bearer.", content_type="text/plain"
        )
    return HttpResponse(generate_latest(_collected()), content_type=CONTENT_TYPE_LATEST)


def _collected() -> CollectorRegistry:
    """Counted anew at each request, by the database: every web process reports the same."""
    registry = CollectorRegistry()
    runs = Gauge("stillhouse_runs", "Runs by state, without those in the trash.", ["state"], registry=registry)
    for state in State.values:
        runs.labels(state).set(0)
    for state, count in Run.objects.filter(deleted_at=None).order_by().values_list("state").annotate(Count("pk")):
        runs.labels(state).set(count)
    silent = Gauge("stillhouse_silent_attempts", "Held runs whose worker has not been heard of for a while.", registry=registry)
    silent.set(Attempt.objects.filter(run__state__in=HELD, ended_at=None, silent_since__isnull=False).count())
    return registry


def _may_look(request: HttpRequest) -> bool:
    """A proxy on this machine forwards strangers from a local address, so its header counts as being far away."""
    sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if settings.METRICS_TOKEN and secrets.compare_digest(sent.encode(), settings.METRICS_TOKEN.encode()):
        return True
    return request.META.get("REMOTE_ADDR") in LOCAL and "X-Forwarded-For" not in request.headers
