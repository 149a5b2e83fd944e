"""Every address of the site, by the object it shows or acts on."""

from django.contrib import admin
from django.urls import include, path

from webapp import health

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("metrics", health.metrics, name="metrics"),
    path("admin/", admin.site.urls),
    path("api/v1/", include("webapp.api_urls")),
    path("", include("webapp.accounts.urls")),
    path("", include("webapp.catalog.urls")),
    path("", include("webapp.runs.urls")),
]
