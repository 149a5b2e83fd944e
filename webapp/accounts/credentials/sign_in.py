"""How a sign-in becomes a session. Whatever proved who the person is (password, identity provider), it goes through `proceed`, and nothing
else signs anybody in: where the person has a second factor, no session is theirs before it was shown.
"""

import time
from typing import Any

from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.crypto import constant_time_compare
from django_otp import login as note_device
from django_otp.models import Device

from webapp.accounts import audit
from webapp.accounts.credentials import second_factor
from webapp.accounts.models import User

BACKEND = "django.contrib.auth.backends.ModelBackend"
WAITING = "waits_for_second_factor"
WAIT_SECONDS = 300
"""How long a person has for the second step."""


def proceed(request: HttpRequest, user: User, *, by: str, to: str) -> HttpResponse:
    """Signs the person in and leads on, or asks for the second factor first. `to` is an address of this site. `by` goes into the audit trail."""
    if not second_factor.is_on(user):
        return _enter(request, user, by=by, to=to)
    request.session[WAITING] = {"user": user.pk, "hash": user.get_session_auth_hash(), "by": by, "to": to, "at": time.time()}
    return redirect("sign-in-code")


def waiting(request: HttpRequest) -> User | None:
    """Whose second factor this browser is to show. None when nobody's, when it took too long, or when the password has changed meanwhile."""
    found = request.session.get(WAITING)
    if not isinstance(found, dict) or not 0 <= time.time() - found["at"] <= WAIT_SECONDS:
        return None
    user = User.objects.filter(pk=found["user"], is_active=True).first()
    return user if user is not None and constant_time_compare(user.get_session_auth_hash(), found["hash"]) else None


def finish(request: HttpRequest, user: User, code: str) -> HttpResponse:
    """The second step. Raises CodeRefused."""
    try:
        device = second_factor.check(user, code)
    except second_factor.CodeRefused:
        audit.of_account(user, "failed second factor", request)
        raise
    found = request.session.pop(WAITING)
    return _enter(request, user, by=found["by"], to=found["to"], device=device)


def _enter(request: HttpRequest, user: User, *, by: str, to: str, device: Device | None = None) -> HttpResponse:
    login(request, user, backend=BACKEND)
    detail: dict[str, Any] = {"by": by}
    if device is not None:
        note_device(request, device)
        detail["second_factor"] = device.name
    audit.of_account(user, "signed in", request, **detail)
    return redirect(to)
