"""The table of a project's runs, and its trash."""

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, QueryDict
from django.shortcuts import render
from django.views.decorators.http import require_GET

from engine.errors import SpecError
from webapp.accounts.models import Role
from webapp.accounts.permissions import project_for
from webapp.accounts.requests import SignedIn
from webapp.runs.models import State
from webapp.runs.table.columns import TableState
from webapp.runs.table.rows import nearest_page

FILTERS = ("q", "state", "method", "task", "tag", "group", "created_after", "created_before")


@require_GET
@login_required
def runs(request: SignedIn, slug: str) -> HttpResponse:
    """The table. Whole at first; htmx asks for the table alone (a filter, a sort). What changes later comes by `runs_events`."""
    project = project_for(request.user, slug)
    table = TableState.read(request)
    problem = ""
    try:
        page = nearest_page(project, _without_empty(request.GET), table.sort, request.GET.get("page"))
    except SpecError as error:
        problem = str(error)
        page = nearest_page(project)
    table = table.with_metrics(page.metric_names)
    context = {
        "project": project,
        "section": "runs",
        "page": page,
        "states": State.values,
        "filtered": any(request.GET.get(name) for name in FILTERS),
        "kept": [(name, value) for name in (*FILTERS, "sort") for value in request.GET.getlist(name)],
        "table": table,
        "problem": problem,
        "may_operate": Role(project.my_role).includes(Role.OPERATOR),
    }
    whole = not request.htmx or request.htmx.history_restore_request
    response = render(request, "runs/table/runs.html" if whole else "runs/table/_runs_table.html", context)
    table.remember(response)
    return response


@require_GET
@login_required
def trash(request: SignedIn, slug: str) -> HttpResponse:
    project = project_for(request.user, slug)
    page = nearest_page(project, {"trash": "true"}, page=request.GET.get("page"))
    may_operate = Role(project.my_role).includes(Role.OPERATOR)
    context = {"project": project, "section": "trash", "page": page, "may_operate": may_operate, "days": settings.TRASH_DAYS}
    return render(request, "runs/table/trash.html", context)


def _without_empty(query: QueryDict) -> QueryDict:
    """A form sends its untouched fields too; they ask for nothing."""
    asked = QueryDict(mutable=True)
    for name, values in query.lists():
        asked.setlist(name, [value for value in values if value])
    return asked
