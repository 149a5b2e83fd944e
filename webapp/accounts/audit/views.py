"""Pages of the audit trail: a project's for its owners, the site's for administrators."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from engine.errors import SpecError
from webapp.accounts.audit import trail
from webapp.accounts.models import AuditEntry
from webapp.accounts.permissions import project_for
from webapp.accounts.requests import SignedIn
from webapp.api.parameters import choice, whole_number_in


@require_GET
@login_required
def project_trail(request: SignedIn, slug: str) -> HttpResponse:
    entries = trail.of_project(request.user, slug)
    context = {"project": project_for(request.user, slug), "section": "audit", "export": reverse("audit-export", args=[slug])}
    return _page(request, entries, context)


@require_GET
@login_required
def project_export(request: SignedIn, slug: str) -> HttpResponseBase:
    return _file(request, trail.of_project(request.user, slug), f"audit-{slug}")


@require_GET
@login_required
def site_trail(request: SignedIn) -> HttpResponse:
    return _page(request, trail.of_site(request.user), {"export": reverse("site-audit-export")})


@require_GET
@login_required
def site_export(request: SignedIn) -> HttpResponseBase:
    return _file(request, trail.of_site(request.user), "audit")


def export(request: Any, entries: QuerySet[AuditEntry], name: str) -> HttpResponseBase:
    """The chosen lines as a file, `?form=csv` or `?form=jsonl`, never all of it in memory. `request` is Django's or the API's. Raises SpecError."""
    form = choice(request.GET, "form", list(trail.FORMS)) or "csv"
    chosen = trail.TrailFilter(request.GET).chosen(entries)
    headers = {"Content-Type": trail.FORMS[form][0], "Content-Disposition": f'attachment; filename="{name}.{form}"'}
    return StreamingHttpResponse(trail.exported(chosen, form), headers=headers)


def _file(request: SignedIn, entries: QuerySet[AuditEntry], name: str) -> HttpResponseBase:
    try:
        return export(request, entries, name)
    except SpecError as error:
        return render(request, "refused.html", {"sentence": str(error)}, status=400)


def _page(request: SignedIn, entries: QuerySet[AuditEntry], context: dict[str, Any]) -> HttpResponse:
    filters, problem = trail.TrailFilter(request.GET), ""
    try:
        chosen = filters.chosen(entries)
    except SpecError as error:
        problem, chosen = str(error), entries.order_by("-pk")
    page = Paginator(chosen, trail.PAGE).get_page(whole_number_in(request.GET.get("page", ""), least=1, most=10**9) or 1)
    context |= {
        "entries": page,
        "page": {"page": page.number, "pages": page.paginator.num_pages},
        "filters": filters,
        "filtered": any(request.GET.get(name) for name in filters.fields),
        "problem": problem,
        "verbs": entries.order_by("verb").values_list("verb", flat=True).distinct()[:100],
    }
    return render(request, "accounts/audit.html", context, status=400 if problem else 200)
