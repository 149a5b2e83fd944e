"""The REST API, by the object it acts on."""

from collections.abc import Callable

from csp.constants import UNSAFE_INLINE
from csp.decorators import csp_replace, csp_update
from django.http.response import HttpResponseBase
from django.urls import include, path, re_path
from django.views.decorators.http import require_safe

from webapp.accounts import api as accounts
from webapp.accounts.audit import api as audit
from webapp.api.nowhere import Nowhere
from webapp.api.schema import Schema, SchemaPage
from webapp.artifacts import api as artifacts
from webapp.catalog import api as catalog
from webapp.comparing import api as comparing
from webapp.launching import api as launching
from webapp.runs.api import projects, record, runs
from webapp.trained_models import api as trained_models

run_urls = [
    path("", runs.OneRun.as_view(), name="run"),
    path("stop/", runs.StopRun.as_view(), name="stop"),
    path("resume/", runs.ResumeRun.as_view(), name="resume"),
    path("retry/", runs.RetryRun.as_view(), name="retry"),
    path("clone/", launching.CloneRun.as_view(), name="clone"),
    path("continue/", launching.ContinueRun.as_view(), name="continue"),
    path("restore/", runs.RestoreRun.as_view(), name="restore"),
    path("metrics/", record.RunMetrics.as_view(), name="metrics"),
    path("evaluations/", record.Evaluations.as_view(), name="evaluations"),
    path("artifacts/", record.Artifacts.as_view(), name="artifacts"),
    path("logs/", record.RunLog.as_view(), name="logs"),
    path("attempts/", record.Attempts.as_view(), name="attempts"),
    path("history/", record.StateHistory.as_view(), name="history"),
]

app_name = "api"


def _with_own_styles(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Swagger's own page has styles of its own in it, also in attributes."""
    allowed: Callable[..., HttpResponseBase] = csp_update({"style-src": [UNSAFE_INLINE]})(
        csp_replace({"style-src-attr": [UNSAFE_INLINE]})(view)
    )
    return allowed


urlpatterns = [
    path("me/", accounts.Me.as_view(), name="me"),
    path("tokens/", accounts.Tokens.as_view(), name="tokens"),
    path("tokens/<int:token_id>/", accounts.OneToken.as_view(), name="token"),
    path("projects/", accounts.Projects.as_view(), name="projects"),
    path("projects/<slug:slug>/members/", accounts.Members.as_view(), name="members"),
    path("projects/<slug:slug>/members/<str:username>/", accounts.OneMember.as_view(), name="member"),
    path("projects/<slug:slug>/", projects.OneProject.as_view(), name="project"),
    path("projects/<slug:slug>/delete/", projects.DeleteProject.as_view(), name="project-delete"),
    path("projects/<slug:slug>/restore/", projects.RestoreProject.as_view(), name="project-restore"),
    path("projects/<slug:slug>/audit/", audit.ProjectTrail.as_view(), name="audit"),
    path("projects/<slug:slug>/audit/export/", audit.ProjectTrailExport.as_view(), name="audit-export"),
    path("audit/", audit.SiteTrail.as_view(), name="site-audit"),
    path("audit/export/", audit.SiteTrailExport.as_view(), name="site-audit-export"),
    path("projects/<slug:slug>/runs/", launching.RunsAndLaunch.as_view(), name="runs"),
    path("runs/<uuid:run_id>/", include(run_urls)),
    path("artifacts/<uuid:artifact_id>/download/", artifacts.Download.as_view(), name="download"),
    path("compare/", comparing.Compare.as_view(), name="compare"),
    path("compare/curves/", comparing.Overlay.as_view(), name="compare-curves"),
    path("methods/", catalog.Methods.as_view(), name="methods"),
    path("methods/<slug:method_id>/", catalog.OneMethod.as_view(), name="method"),
    path("tasks/", catalog.Tasks.as_view(), name="tasks"),
    path("models/", trained_models.Models.as_view(), name="models"),
    path("schema/", Schema.as_view(), name="schema"),
    path("docs/", require_safe(_with_own_styles(SchemaPage.as_view())), name="docs"),
    re_path("", Nowhere.as_view()),
]
