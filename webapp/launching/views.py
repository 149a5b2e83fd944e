"""The launch page: a form made from the method's settings, or JSON; both end in `launch`, as the API's do."""

import hashlib
import json
import os
import secrets
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from engine.errors import Problem, SpecError
from engine.models.foreign import PACKAGES, policy_known
from engine.spec.reference import run_reference
from webapp.accounts.models import Project, Role
from webapp.accounts.permissions import project_for
from webapp.accounts.requests import SignedIn
from webapp.conflict import Conflict
from webapp.launching.continuing import go_on
from webapp.launching.form import DEFAULT_PRESET, LaunchForm, budget_fields
from webapp.launching.launch import body_of, clone
from webapp.launching.launch import launch as launch_runs
from webapp.launching.offered import Offer, method_choices, offers, student_choices, task_choices, teacher_recipe
from webapp.runs.access import run_for
from webapp.runs.models import Run
from webapp.runs.page.views import action


@require_http_methods(["GET", "POST"])
@login_required
def launch(request: SignedIn, slug: str) -> HttpResponse:
    project = project_for(request.user, slug, at_least=Role.OPERATOR)
    if request.method == "GET":
        return _first(request, project)
    text = request.POST.get("json", "")
    form = LaunchForm.first({}) if "json" in request.POST else LaunchForm.typed(request.POST)
    try:
        body = _parsed(text) if "json" in request.POST else form.body()
        runs = launch_runs(project, request.user, body, _key(request, body))
    except SpecError as error:
        if "json" in request.POST:
            return _page(request, project, form, status=400, json_text=text, problems=error.problems)
        form.refuse(error.problems)
        return _page(request, project, form, status=400, refused=True)
    messages.success(request, "Launched." if len(runs) == 1 else f"Launched {len(runs)} runs.")
    return redirect("run-detail", run_id=runs[0].pk) if len(runs) == 1 else redirect("runs", slug=project.slug)


@require_POST
@login_required
def launch_fields(request: SignedIn, slug: str) -> HttpResponse:
    """The form's fields after another method, task or preset was chosen; what was typed is kept where it still means something."""
    project = project_for(request.user, slug, at_least=Role.OPERATOR)
    form = LaunchForm.typed(request.POST, changed=request.htmx.trigger_name or "")
    students, teachers = offers(project, form.method, form.task_as_set)
    form.settle([one.value for one in student_choices(form.method, form.task, students.models)], [one.value for one in teachers.models])
    return render(request, "launching/_launch_fields.html", _context(project, form, (students, teachers)))


@require_POST
@login_required
def launch_budget(request: SignedIn, slug: str) -> HttpResponse:
    """What the budget comes to, while it is typed."""
    project_for(request.user, slug, at_least=Role.OPERATOR)
    return render(request, "launching/_budget_hint.html", {"form": LaunchForm.typed(request.POST)})


run_clone = action(lambda user, run_id: clone(run_for(user, run_id, Role.OPERATOR), user), "Cloned: this is the new run.")


@require_POST
@login_required
def run_continue(request: SignedIn, run_id: UUID) -> HttpResponse:
    run = run_for(request.user, run_id, Role.OPERATOR)
    budget = {field.name: field.value() for field in budget_fields(request.POST) if field.raw.strip()}
    try:
        made = go_on(run, request.user, {"budget": budget})
    except (Conflict, SpecError) as error:
        messages.error(request, str(error))
        return redirect("run-detail", run_id=run_id)
    messages.success(request, "Queued: this is the new run, which goes on from the other's last checkpoint.")
    return redirect("run-detail", run_id=made.pk)


def _first(request: SignedIn, project: Project) -> HttpResponse:
    """The page before anything was typed: from a run to clone, the recipe of a teacher, or the method and task in the address."""
    if origin := _cloned(request):
        body = body_of(origin)
        return _page(request, project, LaunchForm.first(body, body), clone_of=origin)
    task = request.GET.get("task", "")
    form = LaunchForm.first({"method": request.GET.get("method"), "task": task}, preset=request.GET.get("preset") or DEFAULT_PRESET)
    if request.GET.get("recipe") == "teacher":
        form = LaunchForm.first(teacher_recipe(form.task), {"tags": ["teacher"]})
    students, teachers = offers(project, form.method, form.task_as_set)
    if form.takes_teachers and not form.teachers:
        trained = [one.value for one in teachers.models]
        wanted = run_reference(request.GET.get("teacher", ""))
        form.teachers = [wanted] if wanted in trained else trained[:1]
    form.settle([one.value for one in student_choices(form.method, form.task, students.models)], form.teachers)
    return _page(request, project, form, (students, teachers))


def _cloned(request: SignedIn) -> Run | None:
    text = request.GET.get("clone", "")
    try:
        return run_for(request.user, UUID(text)) if text else None
    except ValueError:
        return None


def _page(
    request: SignedIn, project: Project, form: LaunchForm, offered: tuple[Offer, Offer] | None = None, *, status: int = 200, **more: Any
) -> HttpResponse:
    context = {**_context(project, form, offered), "idempotency_key": secrets.token_urlsafe(12), **more}
    return render(request, "launching/launch.html", context, status=status)


def _context(project: Project, form: LaunchForm, offered: tuple[Offer, Offer] | None = None) -> dict[str, Any]:
    students, teachers = offered or offers(project, form.method, form.task_as_set)
    return {
        "project": project,
        "section": "runs",
        "form": form,
        "methods": method_choices(form.task),
        "tasks": task_choices(),
        "students": student_choices(form.method, form.task, students.models),
        "student_offer": students,
        "teacher_offer": teachers,
        "policy": policy_known(os.environ),
        "packages": list(PACKAGES),
    }


def _parsed(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno}, column {error.colno}: {error.msg})" if isinstance(error, json.JSONDecodeError) else ""
        raise SpecError([Problem("", f"This is not JSON{where}.")]) from None
    if not isinstance(body, dict):
        raise SpecError([Problem("", "The JSON must be an object with at least method and task.")])
    return body


def _key(request: SignedIn, body: dict[str, Any]) -> str:
    """The same form sent twice launches once; a form that was changed in between, after going back, is another launch."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return f"page-{request.POST.get('idempotency_key', '')[:40]}-{digest}"
