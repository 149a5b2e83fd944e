"""Pages of people: projects, members, API tokens. Those of signing in are in `credentials`."""

from datetime import timedelta

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, F, Q
from django.db.models.functions import Now
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.accounts import members as membership
from webapp.accounts import tokens as keys
from webapp.accounts.forms import TokenForm
from webapp.accounts.members import MemberRefused
from webapp.accounts.models import Role, Scope
from webapp.accounts.permissions import project_for, projects_of, trashed_projects_of
from webapp.accounts.requests import SignedIn

MOST_DELETED = 100
"""Deleted projects that the list of projects shows, the newest first."""


@require_GET
@login_required
def home(request: SignedIn) -> HttpResponse:
    """The projects; someone with only one is taken to it, unless the list was asked for."""
    kept = Q(runs__deleted_at=None)
    under_way = kept & Q(runs__state__in=["queued", "starting", "running"])
    # Of the run's current attempt; not as the watchdog has marked it, for a watchdog may be what is silent.
    late = Q(runs__attempts__number=F("runs__attempt"), runs__attempts__heartbeat_at__lt=Now() - timedelta(seconds=settings.SILENT_SECONDS))
    silent = kept & late & Q(runs__state__in=["starting", "running"])
    found = list(
        projects_of(request.user)
        .annotate(
            role=F("my_role"),
            run_count=Count("runs", filter=kept, distinct=True),
            active=Count("runs", filter=under_way, distinct=True),
            silent=Count("runs", filter=silent, distinct=True),
        )
        .order_by("name")
    )
    if len(found) == 1 and "all" not in request.GET:
        return redirect("runs", slug=found[0].slug)
    deleted = list(trashed_projects_of(request.user)[:MOST_DELETED])
    return render(request, "accounts/home.html", {"projects": found, "deleted": deleted, "days": settings.TRASH_DAYS})


@require_GET
@login_required
def members(request: SignedIn, slug: str) -> HttpResponse:
    project = project_for(request.user, slug)
    context = {
        "project": project,
        "section": "members",
        "members": membership.members_of(project),
        "roles": Role.choices,
        "may_own": Role(project.my_role).includes(Role.OWNER),
    }
    return render(request, "accounts/members.html", context)


@require_POST
@login_required
def member_put(request: SignedIn, slug: str) -> HttpResponse:
    try:
        one = membership.put(request.user, slug, request.POST.get("username", ""), request.POST.get("role", ""))
        messages.success(request, f"{one.user.get_username()} is now {one.role}.")
    except MemberRefused as error:
        messages.error(request, str(error))
    return redirect("members", slug=slug)


@require_POST
@login_required
def member_remove(request: SignedIn, slug: str) -> HttpResponse:
    try:
        membership.remove(request.user, slug, request.POST.get("username", ""))
        messages.success(request, "Removed.")
    except MemberRefused as error:
        messages.error(request, str(error))
    return redirect("home") if request.POST.get("username") == request.user.get_username() else redirect("members", slug=slug)


@require_http_methods(["GET", "POST"])
@login_required
def tokens(request: SignedIn, slug: str) -> HttpResponse:
    """The person's tokens for a project. A new one is shown in the response to the form that made it, and never again."""
    project = project_for(request.user, slug)
    form = TokenForm(request.POST or None)
    made = ""
    if request.method == "POST" and form.is_valid():
        wanted = form.cleaned_data
        _, made = keys.make(request.user, project, name=wanted["name"], scope=Scope(wanted["scope"]), days=wanted["days"])
        form = TokenForm()
    context = {
        "project": project,
        "section": "tokens",
        "form": form,
        "made": made,
        "tokens": keys.tokens_of(request.user).filter(project=project),
        "address": request.build_absolute_uri("/api/v1/"),
    }
    return render(request, "accounts/tokens.html", context, status=400 if form.is_bound and not form.is_valid() else 200)


@require_POST
@login_required
def token_revoke(request: SignedIn, slug: str, token_id: int) -> HttpResponse:
    token = keys.revoke(request.user, token_id)
    messages.success(request, f"Revoked {token.name}. What uses it is refused from now on.")
    return redirect("tokens", slug=slug)
