"""Pages of methods."""

from django.urls import path

from webapp.catalog import views

urlpatterns = [
    path("p/<slug:slug>/methods/", views.methods, name="methods"),
    path("p/<slug:slug>/methods/<slug:method_id>/", views.method_detail, name="method-detail"),
]
