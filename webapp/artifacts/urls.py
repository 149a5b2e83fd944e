"""The page of an artifact. Its download is the API's."""

from django.urls import path

from webapp.artifacts import views

urlpatterns = [path("artifacts/<uuid:artifact_id>/", views.artifact, name="artifact")]
