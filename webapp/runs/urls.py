"""Pages of runs, by the object that they act on."""

from django.urls import path

from webapp.comparing import views as compare_views
from webapp.figures import plotly
from webapp.launching import views as launch_views
from webapp.runs import views
from webapp.runs.live import stream as live

urlpatterns = [
    path("p/<slug:slug>/", views.runs, name="runs"),
    path("p/<slug:slug>/launch/", launch_views.launch, name="launch"),
    path("p/<slug:slug>/launch/fields/", launch_views.launch_fields, name="launch-fields"),
    path("p/<slug:slug>/launch/budget/", launch_views.launch_budget, name="launch-budget"),
    path("p/<slug:slug>/compare/", compare_views.compare, name="compare"),
    path("p/<slug:slug>/compare/curves/", compare_views.compare_curves, name="compare-curves"),
    path("p/<slug:slug>/trash/", views.trash, name="trash"),
    path("runs/<uuid:run_id>/", views.run_detail, name="run-detail"),
    path("runs/<uuid:run_id>/status/", views.run_status, name="run-status"),
    path("runs/<uuid:run_id>/curves/", views.run_curves, name="run-curves"),
    path("runs/<uuid:run_id>/events", live.run_events, name="run-events"),
    path("runs/<uuid:run_id>/stop/", views.run_stop, name="run-stop"),
    path("runs/<uuid:run_id>/resume/", views.run_resume, name="run-resume"),
    path("runs/<uuid:run_id>/retry/", views.run_retry, name="run-retry"),
    path("runs/<uuid:run_id>/clone/", views.run_clone, name="run-clone"),
    path("runs/<uuid:run_id>/delete/", views.run_delete, name="run-delete"),
    path("runs/<uuid:run_id>/restore/", views.run_restore, name="run-restore"),
    path("runs/<uuid:run_id>/edit/", views.run_edit, name="run-edit"),
    path("artifacts/<uuid:artifact_id>/", views.artifact, name="artifact"),
    path("vendor/plotly-<str:plotly_version>.min.js", plotly.bundle, name="plotly"),
]
