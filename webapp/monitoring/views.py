"""The page that Prometheus reads."""

import secrets

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden
from django.views.decorators.http import require_safe
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from webapp.monitoring.exposition import OfFacts
from webapp.monitoring.facts import KEPT

LOCAL = {"127.0.0.1", "::1"}


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """For callers on this machine and for those that send the token of STILLHOUSE_METRICS_TOKEN. What the database knows is the same in every
    web process; request times, streams and waiting requests are this one's."""
    if not _may_look(request):
        return HttpResponseForbidden(
            "Ask from this machine, or send the token of STILLHOUSE_METRICS_TOKEN as Authorization: Bearer.", content_type="text/plain"
        )
    shared = CollectorRegistry()
    shared.register(OfFacts(KEPT.newest()))
    return HttpResponse(generate_latest(shared) + generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)


def _may_look(request: HttpRequest) -> bool:
    """A proxy on this machine forwards strangers from a local address, so its header counts as being far away."""
    sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if settings.METRICS_TOKEN and secrets.compare_digest(sent.encode(), settings.METRICS_TOKEN.encode()):
        return True
    return request.META.get("REMOTE_ADDR") in LOCAL and "X-Forwarded-For" not in request.headers
