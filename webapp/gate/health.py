"""What containers ask: does it live, and is it ready. No page shows these."""

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from webapp.gate.readiness import LOOKS


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """200 while this process answers at all. Asks no other: a database that is away is no reason to start the web server again."""
    return JsonResponse({"process": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when database and Redis answer and the database has this code's migrations, else 503; says what is wrong."""
    found = LOOKS.newest()
    return JsonResponse({"database": found.database, "redis": found.redis}, status=200 if found.is_ready else 503)
