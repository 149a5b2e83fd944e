"""The page of a project's models."""

from django.urls import path

from webapp.trained_models import views

urlpatterns = [path("p/<slug:slug>/models/", views.models, name="models")]
