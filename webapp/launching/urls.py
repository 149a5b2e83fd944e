"""Pages from which runs are launched, anew or as a clone."""

from django.urls import path

from webapp.launching import views

urlpatterns = [
    path("p/<slug:slug>/launch/", views.launch, name="launch"),
    path("p/<slug:slug>/launch/fields/", views.launch_fields, name="launch-fields"),
    path("p/<slug:slug>/launch/budget/", views.launch_budget, name="launch-budget"),
    path("runs/<uuid:run_id>/clone/", views.run_clone, name="run-clone"),
    path("runs/<uuid:run_id>/continue/", views.run_continue, name="run-continue"),
]
