"""The page of one run: its parts, its curves, and the buttons that change it."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from engine.errors import SpecError
from engine.spec import catalog
from engine.spec.reference import described_reference
from webapp.accounts.models import Role, User
from webapp.accounts.requests import SignedIn
from webapp.conflict import Conflict
from webapp.figures.shown_charts import charts_of
from webapp.runs import actions
from webapp.runs.access import run_for
from webapp.runs.live.news import mark_of
from webapp.runs.log import lines_of
from webapp.runs.models import Run
from webapp.runs.page.activity import artifacts_of, attempts_of, history_of
from webapp.runs.page.closer_look import tables_of
from webapp.runs.page.configuration import config_of, ordered, python_snippet
from webapp.runs.page.curve_panels import panels_for
from webapp.runs.page.forms import ChartWidth, EditForm
from webapp.runs.page.header import actions_of, start_of, teachers_of
from webapp.runs.page.scores import scores_of
from webapp.runs.progress import newest_attempt, status_of, supply_for

LOG_LINES = 300


@require_GET
@login_required
def run_detail(request: SignedIn, run_id: UUID) -> HttpResponse:
    run = run_for(request.user, run_id)
    context = {
        **_evaluations(run),
        **_activity(run),
        **_header(run),
        "lines": lines_of(run, limit=LOG_LINES, tail=True),
        "config": config_of(run.spec),
        "spec": ordered(run.spec),
        "python_snippet": python_snippet(run.spec),
    }
    return render(request, "runs/page/run_detail.html", context)


@require_GET
@login_required
def run_status(request: SignedIn, run_id: UUID) -> HttpResponse:
    """One part of the run's page as it is now: `?part=header|evaluations|activity`."""
    run = run_for(request.user, run_id)
    parts: dict[str, tuple[str, Callable[[Run], dict[str, Any]]]] = {
        "header": ("runs/page/_header.html", _header),
        "evaluations": ("runs/page/_evaluations.html", _evaluations),
        "activity": ("runs/page/_activity.html", _activity),
    }
    template, context = parts.get(request.GET.get("part", ""), parts["header"])
    return render(request, template, context(run))


@require_GET
@login_required
def run_curves(request: SignedIn, run_id: UUID) -> JsonResponse:
    """All curves of a run as panels with their figures, and the mark from which `run-events` goes on. `?baseline=1` lays its baseline under."""
    run = run_for(request.user, run_id)
    mark = mark_of(run)
    baseline = run.baseline if request.GET.get("baseline") else None
    cursor, panels = panels_for(run, width=ChartWidth(request.GET).points, baseline=baseline)
    return JsonResponse({"mark": f"{cursor}~{mark.log}~{mark.evaluation}", "panels": panels}, json_dumps_params={"allow_nan": False})


def action(change: Callable[[User, UUID], Run], done: str, *, to_runs: bool = False) -> Callable[..., HttpResponse]:
    """A view that changes a run and goes back to its page; what is not allowed becomes a message there."""

    @require_POST
    @login_required
    def view(request: SignedIn, run_id: UUID) -> HttpResponse:
        try:
            run = change(request.user, run_id)
        except (Conflict, SpecError) as error:
            messages.error(request, str(error))
            return redirect("run-detail", run_id=run_id)
        messages.success(request, done)
        return redirect("runs", slug=run.project.slug) if to_runs else redirect("run-detail", run_id=run.pk)

    return view


run_stop = action(actions.stop, "Stop requested. The run ends within one step and keeps a checkpoint.")
run_resume = action(actions.resume, "Queued again; it goes on from its last checkpoint.")
run_retry = action(actions.retry, "Queued again, from the start.")
run_delete = action(actions.delete, "Moved to the trash.", to_runs=True)
run_restore = action(actions.restore, "Restored from the trash.")


@require_POST
@login_required
def run_edit(request: SignedIn, run_id: UUID) -> HttpResponse:
    try:
        actions.edit(request.user, run_id, EditForm(request.POST).changes())
        messages.success(request, "Saved.")
    except (Conflict, SpecError) as error:
        messages.error(request, str(error))
    return redirect("run-detail", run_id=run_id)


def _header(run: Run) -> dict[str, Any]:
    return {
        "run": run,
        "project": run.project,
        "section": "runs",
        "status": status_of(run, newest_attempt(run), supply_for([run])),
        "student": described_reference(run.spec["student"]),
        "start": start_of(run),
        "teachers": teachers_of(run),
        "can": actions_of(run),
        "may_operate": Role(vars(run)["my_role"]).includes(Role.OPERATOR),
    }


def _evaluations(run: Run) -> dict[str, Any]:
    charts = charts_of(tables_of(run), number=run.number, first=catalog.kind_of(run.spec).charts)
    return {"run": run, "status": status_of(run), "scores": scores_of(run), "diagnostics": charts}


def _activity(run: Run) -> dict[str, Any]:
    return {"run": run, "attempts": attempts_of(run), "artifacts": artifacts_of(run), "history": history_of(run)}
