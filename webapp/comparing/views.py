"""The compare page. Its address holds everything: the runs, the pinned baseline, whether seeds are grouped."""

from collections.abc import Mapping
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, JsonResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from engine.errors import SpecError
from webapp.accounts.permissions import project_for
from webapp.accounts.requests import SignedIn
from webapp.api.parameters import flag
from webapp.comparing.comparison import UNPINNED, Comparison, comparison, pinned_by
from webapp.comparing.page import curve_figures, figures_of, heads_of, split_config, split_rows
from webapp.comparing.words import verdict_lines
from webapp.runs.history.curves import series_names


@require_GET
@login_required
def compare(request: SignedIn, slug: str) -> HttpResponse:
    project = project_for(request.user, slug)
    try:
        found = _comparison(request)
    except SpecError as error:
        messages.error(request, str(error))
        return redirect("runs", slug=slug)
    if found.project.pk != project.pk:
        return redirect(f"{request.path.replace(slug, found.project.slug, 1)}?{request.GET.urlencode()}")
    main, more = split_rows(found)
    config, more_config = split_config(found)
    context = {
        "project": project,
        "section": "runs",
        "comparison": found,
        "heads": heads_of(found),
        "verdicts": verdict_lines(found.columns, found.rows),
        "unpinned": UNPINNED,
        "main": main,
        "more": more,
        "config": config,
        "more_config": more_config,
        "figures": figures_of(found),
        "runs": _run_list(request.GET),
        "baseline": request.GET.get("baseline", ""),
        "grouped": _grouped(request.GET),
        "series": series_names([run_id for column in found.columns for run_id in column.run_ids]),
    }
    return render(request, "comparing/compare.html", context)


@require_GET
@login_required
def compare_curves(request: SignedIn, slug: str) -> JsonResponse:
    """The overlaid curves as figures; `?series=` (repeated) names others than those that are shown at first."""
    project_for(request.user, slug)
    try:
        found = _comparison(request)
    except SpecError as error:
        return JsonResponse({"detail": str(error)}, status=400)
    series = request.GET.getlist("series")[:12]
    return JsonResponse({"panels": curve_figures(found, series=series)}, json_dumps_params={"allow_nan": False})


def _comparison(request: SignedIn) -> Comparison:
    baseline, pin = pinned_by(request.GET)
    return comparison(request.user, _ids(_run_list(request.GET)), baseline, grouped=_grouped(request.GET), pin=pin)


def _run_list(query: QueryDict) -> str:
    """`?runs=a,b` and `?runs=a&runs=b` are the same."""
    return ",".join(part.strip() for text in query.getlist("runs") for part in text.split(",") if part.strip())


def _ids(text: str) -> list[UUID]:
    try:
        return [UUID(part) for part in text.split(",") if part]
    except ValueError:
        raise SpecError.at("runs", f"must be ids of runs with commas between them; got {text!r:.80}.") from None


def _grouped(query: Mapping[str, str]) -> bool:
    return flag(query, "grouped", True)
