"""Pages of people, and of who is in a project."""

from django.urls import include, path

from webapp.accounts import views
from webapp.accounts.audit import views as audit

urlpatterns = [
    path("", views.home, name="home"),
    path("", include("webapp.accounts.credentials.urls")),
    path("audit/", audit.site_trail, name="site-audit"),
    path("audit/export/", audit.site_export, name="site-audit-export"),
    path("p/<slug:slug>/members/", views.members, name="members"),
    path("p/<slug:slug>/members/put/", views.member_put, name="member-put"),
    path("p/<slug:slug>/members/remove/", views.member_remove, name="member-remove"),
    path("p/<slug:slug>/audit/", audit.project_trail, name="audit"),
    path("p/<slug:slug>/audit/export/", audit.project_export, name="audit-export"),
    path("p/<slug:slug>/tokens/", views.tokens, name="tokens"),
    path("p/<slug:slug>/tokens/<int:token_id>/revoke/", views.token_revoke, name="token-revoke"),
]
