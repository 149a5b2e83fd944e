"""The page of a project's models."""

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from engine.errors import SpecError
from webapp.accounts.models import Role
from webapp.accounts.permissions import project_for
from webapp.accounts.requests import SignedIn
from webapp.catalog.queries import tasks
from webapp.runs.table.columns import metric_column, plain_column
from webapp.trained_models.rows import models_page


@require_GET
@login_required
def models(request: SignedIn, slug: str) -> HttpResponse:
    project = project_for(request.user, slug)
    task, sort, problem = request.GET.get("task", ""), request.GET.get("sort") or "-created", ""
    try:
        page = models_page(project, task=task, sort=sort)
    except SpecError as error:
        problem = str(error)
        page = models_page(project, task=task)
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
        "tasks": tasks(),
        "task": task,
        "may_operate": Role(project.my_role).includes(Role.OPERATOR),
    }
    return render(request, "trained_models/models.html", context)
