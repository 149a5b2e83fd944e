"""Every address of the site, by the room that serves it."""

from inspect import unwrap

from django.contrib import admin
from django.urls import include, path
from django.views import defaults

from webapp.figures import plotly
from webapp.gate import health
from webapp.monitoring.views import metrics

urlpatterns = [
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

# Django's own pages for what went wrong, without the form's secret that they look for first: a body that can't be read would be an error then.
handler400, handler403 = unwrap(defaults.bad_request), unwrap(defaults.permission_denied)
handler404, handler500 = unwrap(defaults.page_not_found), unwrap(defaults.server_error)
