"""The launch page: a form made from the method's settings, or JSON; both end in `launch`, as the API's do."""

import hashlib
import json
import secrets
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from engine.errors import Problem, SpecError
from webapp.accounts.models import Project, Role
from webapp.catalog import queries as catalog_queries
from webapp.catalog.models import ModelRecord
from webapp.launching import launch as launching
from webapp.launching.form import DEFAULT_PRESET, Choice, LaunchForm, method_choices, student_choices, task_choices, teacher_recipe
from webapp.requests import SignedIn
from webapp.runs import queries
from webapp.runs.models import Run
from webapp.runs.templatetags.shown import metric


@require_http_methods(["GET", "POST"])
@login_required
def launch(request: SignedIn, slug: str) -> HttpResponse:
    project = queries.project_for(request.user, slug, at_least=Role.OPERATOR)
    if request.method == "GET":
        return _first(request, project)
    text = request.POST.get("json", "")
    form = LaunchForm.first({}) if "json" in request.POST else LaunchForm.typed(request.POST)
    try:
        body = _parsed(text) if "json" in request.POST else form.body()
        runs = launching.launch(project, request.user, body, _key(request, body))
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
    project = queries.project_for(request.user, slug, at_least=Role.OPERATOR)
    form = LaunchForm.typed(request.POST, changed=request.htmx.trigger_name or "")
    return render(request, "launching/_launch_fields.html", _context(project, form))


@require_POST
@login_required
def launch_budget(request: SignedIn, slug: str) -> HttpResponse:
    """What the budget comes to, while it is typed."""
    queries.project_for(request.user, slug, at_least=Role.OPERATOR)
    return render(request, "launching/_budget_hint.html", {"form": LaunchForm.typed(request.POST)})


def _first(request: SignedIn, project: Project) -> HttpResponse:
    """The page before anything was typed: from a run to clone, the recipe of a teacher, or the method and task in the address."""
    if clone := _cloned(request):
        body = launching.body_of(clone)
        return _page(request, project, LaunchForm.first(body, body), clone_of=clone)
    task = request.GET.get("task", "")
    form = LaunchForm.first({"method": request.GET.get("method"), "task": task}, preset=request.GET.get("preset") or DEFAULT_PRESET)
    if request.GET.get("recipe") == "teacher":
        form = LaunchForm.first(teacher_recipe(form.task), {"tags": ["teacher"]})
    elif form.takes_teachers and not form.teachers:
        trained = [one.value for one in _trained(project, form.task.id)]
        wanted = f"run:{request.GET.get('teacher', '')}"
        form.teachers = [wanted] if wanted in trained else trained[:1]
    return _page(request, project, form)


def _cloned(request: SignedIn) -> Run | None:
    text = request.GET.get("clone", "")
    try:
        return queries.run_for(request.user, UUID(text)) if text else None
    except ValueError:
        return None


def _page(request: SignedIn, project: Project, form: LaunchForm, *, status: int = 200, **more: Any) -> HttpResponse:
    context = {**_context(project, form), "idempotency_key": secrets.token_urlsafe(12), **more}
    return render(request, "launching/launch.html", context, status=status)


def _context(project: Project, form: LaunchForm) -> dict[str, Any]:
    models = _trained(project, form.task.id)
    return {
        "project": project,
        "section": "runs",
        "form": form,
        "methods": method_choices(form.task),
        "tasks": task_choices(),
        "students": student_choices(form.task, models),
        "teachers": models,
    }


def _trained(project: Project, task: str) -> list[Choice]:
    """The project's 200 newest trained models of a task, as references: the largest first, among equals the most accurate."""
    models = list(catalog_queries.models_of(project, task=task)[:200])
    accuracy = queries.latest_values([one.run_id for one in models], "accuracy")
    models.sort(key=lambda one: (-(one.parameters or 0), -accuracy.get(one.run_id, 0.0)))
    return [Choice(f"run:{one.run_id}", _model_label(one, accuracy.get(one.run_id))) for one in models]


def _model_label(model: ModelRecord, accuracy: float | None) -> str:
    about = model.architecture if accuracy is None else f"{model.architecture}, accuracy {metric(accuracy, 'accuracy')}"
    return f"{model.name} #{model.run.number} ({about})"


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
