"""Pages that lay runs beside each other."""

from django.urls import path

from webapp.comparing import views

urlpatterns = [
    path("p/<slug:slug>/compare/", views.compare, name="compare"),
    path("p/<slug:slug>/compare/curves/", views.compare_curves, name="compare-curves"),
]
