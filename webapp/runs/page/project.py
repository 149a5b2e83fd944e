"""The page of a project's settings, and its way into the trash and back."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from webapp.accounts.models import Role
from webapp.accounts.permissions import project_for
from webapp.accounts.requests import SignedIn
from webapp.runs import projects
from webapp.runs.projects import NameNotTyped


@require_http_methods(["GET", "POST"])
@login_required
def project_settings(request: SignedIn, slug: str) -> HttpResponse:
    if request.method == "POST":
        projects.keep_checkpoints(request.user, slug, "keep_checkpoints" in request.POST)
        messages.success(request, "Saved.")
        return redirect("project-settings", slug=slug)
    project = project_for(request.user, slug)
    context = {
        "project": project,
        "section": "settings",
        "may_own": Role(project.my_role).includes(Role.OWNER),
        "trash_days": settings.TRASH_DAYS,
        "checkpoint_days": settings.CHECKPOINT_DAYS,
    }
    return render(request, "runs/page/project_settings.html", context)


@require_POST
@login_required
def project_delete(request: SignedIn, slug: str) -> HttpResponse:
    try:
        project = projects.trash(request.user, slug, request.POST.get("name", ""))
    except NameNotTyped as error:
        messages.error(request, str(error))
        return redirect("project-settings", slug=slug)
    messages.success(request, f"Deleted {project.name}. It can be restored from the list of projects.")
    return redirect("/?all=1")


@require_POST
@login_required
def project_restore(request: SignedIn, slug: str) -> HttpResponse:
    project = projects.restore(request.user, slug)
    messages.success(request, f"Restored {project.name}. Runs that were stopped by its deletion can be resumed.")
    return redirect("/?all=1")
