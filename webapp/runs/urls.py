"""Pages of runs: the table, and one run with what changes it."""

from django.urls import path

from webapp.runs.live.stream import run_events, runs_events
from webapp.runs.page import project
from webapp.runs.page import views as page
from webapp.runs.table import views as table

urlpatterns = [
    path("p/<slug:slug>/", table.runs, name="runs"),
    path("p/<slug:slug>/events", runs_events, name="runs-events"),
    path("p/<slug:slug>/trash/", table.trash, name="trash"),
    path("p/<slug:slug>/settings/", project.project_settings, name="project-settings"),
    path("p/<slug:slug>/delete/", project.project_delete, name="project-delete"),
    path("p/<slug:slug>/restore/", project.project_restore, name="project-restore"),
    path("runs/<uuid:run_id>/", page.run_detail, name="run-detail"),
    path("runs/<uuid:run_id>/status/", page.run_status, name="run-status"),
    path("runs/<uuid:run_id>/curves/", page.run_curves, name="run-curves"),
    path("runs/<uuid:run_id>/events", run_events, name="run-events"),
    path("runs/<uuid:run_id>/stop/", page.run_stop, name="run-stop"),
    path("runs/<uuid:run_id>/resume/", page.run_resume, name="run-resume"),
    path("runs/<uuid:run_id>/retry/", page.run_retry, name="run-retry"),
    path("runs/<uuid:run_id>/delete/", page.run_delete, name="run-delete"),
    path("runs/<uuid:run_id>/restore/", page.run_restore, name="run-restore"),
    path("runs/<uuid:run_id>/edit/", page.run_edit, name="run-edit"),
]
