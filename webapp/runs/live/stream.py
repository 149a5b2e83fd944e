"""News of one run, and of a table's rows, as server-sent events. Redis says when to look, the database says what there is.

A page that was closed, or a web server that was restarted, changes nothing: the browser comes back with `Last-Event-ID` and hears what it
missed. Views only say who may listen; the stream begins when the request has ended (webapp/lasting.py).
"""

from collections.abc import Callable
from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from webapp.accounts.models import User
from webapp.accounts.permissions import project_for
from webapp.api.parameters import whole_number_in
from webapp.lasting import Told, goes_on
from webapp.runs.access import run_for
from webapp.runs.live.desk import Full, desk
from webapp.runs.live.news import Mark
from webapp.runs.live.passes import Pass

RETRY_SECONDS = 30
MOST_ROWS = 200


@require_GET
async def run_events(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """News of a run since `Last-Event-ID`, or since `after`."""
    user = await request.auser()
    if not isinstance(user, User):
        return _refused(401, "Sign in first.")
    run = await sync_to_async(run_for)(user, run_id)
    mark = Mark.parse(request.headers.get("Last-Event-ID") or request.GET.get("after", ""))
    admitted = Pass(request.session.session_key or "", user.pk, user.password, run.project_id, run.pk)
    return _stream(request, lambda: desk().follow_run(admitted, run.pk, mark))


@require_GET
async def runs_events(request: HttpRequest, slug: str) -> HttpResponse:
    """News of a project's runs: of those in `runs`, and whether any was launched after number `newest`."""
    user = await request.auser()
    if not isinstance(user, User):
        return _refused(401, "Sign in first.")
    project = await sync_to_async(project_for)(user, slug)
    try:
        ids = [UUID(text) for text in request.GET.get("runs", "").split(",") if text]
    except ValueError:
        return _refused(400, "runs must be ids of runs, with commas between them.")
    if len(ids) > MOST_ROWS:
        return _refused(400, f"runs must be at most {MOST_ROWS} ids; got {len(ids)}.")
    admitted = Pass(request.session.session_key or "", user.pk, user.password, project.pk)
    newest = whole_number_in(request.GET.get("newest", ""))
    return _stream(request, lambda: desk().follow_table(admitted, ids, others=newest is not None and project.last_run_number > newest))


def _stream(request: HttpRequest, follow: Callable[[], Told]) -> HttpResponse:
    try:
        return goes_on(request, follow())
    except Full as full:
        return _refused(full.status, str(full), headers={"Retry-After": str(RETRY_SECONDS)})


def _refused(status: int, sentence: str, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(sentence, status=status, headers=headers, content_type="text/plain; charset=utf-8")
