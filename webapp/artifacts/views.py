"""The page of an artifact."""

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from webapp.accounts.requests import SignedIn
from webapp.artifacts.page import Asked, look_at
from webapp.runs.access import artifact_for, run_for


@require_GET
@login_required
def artifact(request: SignedIn, artifact_id: UUID) -> HttpResponse:
    """What an artifact holds: `?file=` of a folder, `?tensor=` of a file, `?q=` words to find, `?start=` from which entry on."""
    one = artifact_for(request.user, artifact_id)
    run = run_for(request.user, one.run_id)
    look = look_at(one, Asked.read(request.GET), number=run.number)
    return render(
        request, "artifacts/artifact.html", {"project": run.project, "section": "runs", "run": run, "artifact": one, "look": look}
    )
