"""Pages of runs: the table, one run, the trash. Who may, what is asked, which template; all else is in queries, actions and run_page."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from engine.errors import SpecError
from engine.spec import catalog
from webapp.accounts.models import Role, User
from webapp.artifacts import page as artifact_page
from webapp.requests import SignedIn
from webapp.runs import actions, queries
from webapp.runs.lifecycle import NotAllowed
from webapp.runs.live.news import mark_of
from webapp.runs.models import Run, State
from webapp.runs.page import charts, curve_panels
from webapp.runs.page import detail as run_page
from webapp.runs.progress import status_of
from webapp.runs.table.columns import TableState

FILTERS = ("q", "state", "method", "task", "tag", "group", "created_after", "created_before")


@require_GET
@login_required
def runs(request: SignedIn, slug: str) -> HttpResponse:
    """The table. Whole at first; htmx asks for the table alone (a filter, a sort), or for the cells of rows that are under way (`live`)."""
    project = queries.project_for(request.user, slug)
    table = TableState.read(request)
    problem = ""
    try:
        page = queries.runs_page(project, _without_empty(request.GET), table.sort, table.page)
    except SpecError as error:
        problem = str(error)
        page = queries.runs_page(project)
    table = table.with_metrics(page.metric_names)
    active = [row for row in page.rows if not row.status.ended]
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
        "active": active,
        "active_ids": [str(row.id) for row in active],
    }
    if request.GET.get("live"):
        context["refreshed"] = [row for row in page.rows if not row.status.ended or str(row.id) in request.GET.getlist("active")]
        return render(request, "runs/_runs_live.html", context)
    response = render(
        request, "runs/_runs_table.html" if request.htmx and not request.htmx.history_restore_request else "runs/runs.html", context
    )
    table.remember(response)
    return response


@require_GET
@login_required
def run_detail(request: SignedIn, run_id: UUID) -> HttpResponse:
    run = queries.run_for(request.user, run_id)
    context = {
        **_evaluations(run),
        **_activity(run),
        **_header(run),
        "lines": run_page.log_of(run),
        "config": run_page.config_of(run.spec),
        "spec": run_page.ordered(run.spec),
        "python_snippet": run_page.python_snippet(run.spec),
    }
    return render(request, "runs/run_detail.html", context)


@require_GET
@login_required
def run_status(request: SignedIn, run_id: UUID) -> HttpResponse:
    """One part of the run's page as it is now: `?part=header|evaluations|activity`."""
    run = queries.run_for(request.user, run_id)
    parts: dict[str, tuple[str, Callable[[Run], dict[str, Any]]]] = {
        "header": ("runs/_header.html", _header),
        "evaluations": ("runs/_evaluations.html", _evaluations),
        "activity": ("runs/_activity.html", _activity),
    }
    template, context = parts.get(request.GET.get("part", ""), parts["header"])
    return render(request, template, context(run))


@require_GET
@login_required
def run_curves(request: SignedIn, run_id: UUID) -> JsonResponse:
    """All curves of a run as panels with their figures, and the mark from which `run-events` goes on. `?baseline=1` lays its baseline under."""
    run = queries.run_for(request.user, run_id)
    mark = mark_of(run)
    cursor, panels = curve_panels.panels_for(run, width=_width(request), baseline=run.baseline if request.GET.get("baseline") else None)
    return JsonResponse({"mark": f"{cursor}~{mark.log}~{mark.evaluation}", "panels": panels}, json_dumps_params={"allow_nan": False})


@require_GET
@login_required
def artifact(request: SignedIn, artifact_id: UUID) -> HttpResponse:
    """What an artifact holds: `?file=` of a folder, `?tensor=` of a file, `?q=` words to find, `?start=` from which entry on."""
    one = queries.artifact_for(request.user, artifact_id)
    run = queries.run_for(request.user, one.run_id)
    look = artifact_page.look_at(one, artifact_page.Asked.read(request.GET), number=run.number)
    return render(
        request, "artifacts/artifact.html", {"project": run.project, "section": "runs", "run": run, "artifact": one, "look": look}
    )


@require_GET
@login_required
def trash(request: SignedIn, slug: str) -> HttpResponse:
    project = queries.project_for(request.user, slug)
    page = queries.runs_page(project, {"trash": "true"}, "-created", _page_number(request))
    may_operate = Role(project.my_role).includes(Role.OPERATOR)
    return render(request, "runs/trash.html", {"project": project, "section": "trash", "page": page, "may_operate": may_operate})


def _action(change: Callable[[User, UUID], Run], done: str, *, to_runs: bool = False) -> Callable[..., HttpResponse]:
    """A view that changes a run and goes back to its page; what is not allowed becomes a message there."""

    @require_POST
    @login_required
    def view(request: SignedIn, run_id: UUID) -> HttpResponse:
        try:
            run = change(request.user, run_id)
        except (NotAllowed, SpecError) as error:
            messages.error(request, str(error))
            return redirect("run-detail", run_id=run_id)
        messages.success(request, done)
        return redirect("runs", slug=run.project.slug) if to_runs else redirect("run-detail", run_id=run.pk)

    return view


run_stop = _action(actions.stop, "Stop requested. The run ends within one step and keeps a checkpoint.")
run_resume = _action(actions.resume, "Queued again; it goes on from its last checkpoint.")
run_retry = _action(actions.retry, "Queued again, from the start.")
run_clone = _action(actions.clone, "Cloned: this is the new run.")
run_delete = _action(actions.delete, "Moved to the trash.", to_runs=True)
run_restore = _action(actions.restore, "Restored from the trash.")


@require_POST
@login_required
def run_edit(request: SignedIn, run_id: UUID) -> HttpResponse:
    priority = request.POST.get("priority", "0").strip()
    changes = {
        "name": request.POST.get("name", ""),
        "notes": request.POST.get("notes", ""),
        "tags": [tag.strip() for tag in request.POST.get("tags", "").split(",") if tag.strip()],
        "priority": int(priority) if priority.lstrip("-").isdecimal() else priority,
    }
    try:
        actions.edit(request.user, run_id, changes)
        messages.success(request, "Saved.")
    except (NotAllowed, SpecError) as error:
        messages.error(request, str(error))
    return redirect("run-detail", run_id=run_id)


def _header(run: Run) -> dict[str, Any]:
    return {
        "run": run,
        "project": run.project,
        "section": "runs",
        "status": status_of(run, queries.newest_attempt(run)),
        "student": run_page.student_of(run.spec),
        "start": run_page.start_of(run),
        "teachers": run_page.teachers_of(run),
        "can": run_page.actions_of(run),
        "may_operate": Role(vars(run)["my_role"]).includes(Role.OPERATOR),
    }


def _evaluations(run: Run) -> dict[str, Any]:
    views = charts.views_of(charts.tables_of(run), number=run.number, first=catalog.kind_of(run.spec).charts)
    return {"run": run, "status": status_of(run), "judged": run_page.judged_of(run), "diagnostics": views}


def _activity(run: Run) -> dict[str, Any]:
    return {"run": run, "attempts": run_page.attempts_of(run), "artifacts": run_page.artifacts_of(run), "history": run_page.history_of(run)}


def _without_empty(query: QueryDict) -> QueryDict:
    """A form sends its untouched fields too; they ask for nothing."""
    asked = QueryDict(mutable=True)
    for name, values in query.lists():
        asked.setlist(name, [value for value in values if value])
    return asked


def _width(request: HttpRequest) -> int:
    """How many points a chart can show: twice its pixels, for each one's minimum and maximum."""
    text = request.GET.get("width", "")
    return max(400, min(4000, 2 * int(text))) if text.isdecimal() and len(text) < 6 else 1500


def _page_number(request: HttpRequest) -> int:
    text = request.GET.get("page", "1")
    return int(text) if text.isdecimal() and 0 < len(text) < 7 and int(text) else 1
