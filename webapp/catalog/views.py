"""Pages of the methods that can be chosen."""

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from webapp.accounts.models import Role
from webapp.accounts.permissions import project_for
from webapp.accounts.requests import SignedIn
from webapp.catalog import queries
from webapp.catalog.method_page import as_html, presets_of, settings_of


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
