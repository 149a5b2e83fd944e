"""Pages of people, and of who is in a project."""

from django.urls import path

from webapp.accounts import views

urlpatterns = [
    path("", views.home, name="home"),
    path("sign-in/", views.sign_in, name="sign-in"),
    path("sign-out/", views.sign_out, name="sign-out"),
    path("p/<slug:slug>/members/", views.members, name="members"),
    path("p/<slug:slug>/members/put/", views.member_put, name="member-put"),
    path("p/<slug:slug>/members/remove/", views.member_remove, name="member-remove"),
    path("p/<slug:slug>/tokens/", views.tokens, name="tokens"),
    path("p/<slug:slug>/tokens/<int:token_id>/revoke/", views.token_revoke, name="token-revoke"),
]
