"""Every address of the site, by the room that serves it."""

from django.contrib import admin
from django.urls import include, path

from webapp import health
from webapp.figures import plotly
from webapp.monitoring.views import metrics

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("admin/", admin.site.urls),
    path("api/v1/", include("webapp.api_urls")),
    path("vendor/plotly-<str:plotly_version>.min.js", plotly.bundle, name="plotly"),
    path("", include("webapp.accounts.urls")),
    path("", include("webapp.catalog.urls")),
    path("", include("webapp.runs.urls")),
    path("", include("webapp.trained_models.urls")),
    path("", include("webapp.comparing.urls")),
    path("", include("webapp.artifacts.urls")),
    path("", include("webapp.launching.urls")),
]
