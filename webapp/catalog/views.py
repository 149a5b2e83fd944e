"""Pages of what can be chosen: methods, and the models that runs have made."""

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from engine.errors import SpecError
from webapp.accounts.models import Role
from webapp.accounts.permissions import project_for
from webapp.catalog import queries
from webapp.catalog.method_page import as_html, presets_of, settings_of
from webapp.requests import SignedIn
from webapp.runs.table.columns import metric_column, plain_column


@require_GET
@login_required
def methods(request: SignedIn, slug: str) -> HttpResponse:
    project = project_for(request.user, slug)
    return render(request, "catalog/methods.html", {"project": project, "section": "methods", "methods": queries.methods()})


@require_GET
@login_required
def method_detail(request: SignedIn, slug: str, method_id: str) -> HttpResponse:
    project = project_for(request.user, slug)
    method = queries.method_for(method_id)
    context = {
        "project": project,
        "section": "methods",
        "method": method,
        "readme": as_html(method.readme),
        "settings": settings_of(method),
        "presets": presets_of(method),
        "arxiv": method.paper.removeprefix("arXiv:") if method.paper.startswith("arXiv:") else "",
        "may_operate": Role(project.my_role).includes(Role.OPERATOR),
    }
    return render(request, "catalog/method_detail.html", context)


@require_GET
@login_required
def models(request: SignedIn, slug: str) -> HttpResponse:
    project = project_for(request.user, slug)
    task, sort, problem = request.GET.get("task", ""), request.GET.get("sort") or "-created", ""
    try:
        page = queries.models_page(project, task=task, sort=sort)
    except SpecError as error:
        problem = str(error)
        page = queries.models_page(project, task=task)
    context = {
        "project": project,
        "section": "models",
        "problem": problem,
        "page": page,
        "columns": {
            "name": plain_column("name", "Model", "name", sort=sort),
            "architecture": plain_column("architecture", "Architecture", "architecture", sort=sort),
            "parameters": plain_column("parameters", "Parameters", "-parameters", sort=sort),
            "task": plain_column("task", "Task", "task", sort=sort),
            "created": plain_column("created", "Made", "-created", sort=sort),
        },
        "metrics": [metric_column(name, sort=sort) for name in page.columns],
        "sort": request.GET.get("sort", ""),
        "tasks": queries.tasks(),
        "task": task,
        "may_operate": Role(project.my_role).includes(Role.OPERATOR),
    }
    return render(request, "catalog/models.html", context)
