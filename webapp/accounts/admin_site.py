"""Django's administration behind the site's own sign-in, so that no door of its own leads past the second factor or the trail."""

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode

from webapp.accounts.credentials import second_factor
from webapp.accounts.models import User


class GuardedAdminSite(AdminSite):
    def has_permission(self, request: HttpRequest) -> bool:
        """Staff; and where they have a second factor, only when this session has shown it."""
        if not super().has_permission(request):
            return False
        user = request.user
        return isinstance(user, User) and second_factor.is_satisfied(user)

    def login(self, request: HttpRequest, extra_context: dict[str, object] | None = None) -> HttpResponse:
        wanted = request.GET.get("next") or reverse("admin:index")
        return redirect(f"{reverse('sign-in')}?{urlencode({'next': wanted})}")

    def password_change(self, request: HttpRequest, extra_context: dict[str, object] | None = None) -> HttpResponse:  # type: ignore[override]
        return redirect("password")
