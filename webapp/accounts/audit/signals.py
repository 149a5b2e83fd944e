"""What Django and axes tell of signing in and out, as lines of the audit trail."""

from collections.abc import Mapping
from typing import Any

from axes.signals import user_locked_out
from django.contrib.auth.signals import user_logged_out, user_login_failed
from django.core.cache import cache
from django.http import HttpRequest

from webapp.accounts import audit
from webapp.accounts.audit.writing import address_of
from webapp.accounts.models import User
from webapp.api.body import NO_TEXT

ONE_LINE_EVERY = 60
"""Seconds. Failures of one name from one address, and all of unknown names from one address, are one line in so long: guessing fills no disk."""


def listen() -> None:
    """Called once, when the application is ready. A sign-in itself is written where it is made, with how it was made."""
    user_login_failed.connect(_failed, dispatch_uid="audit")
    user_locked_out.connect(_locked_out, dispatch_uid="audit")
    user_logged_out.connect(_signed_out, dispatch_uid="audit")


def _failed(*, credentials: Mapping[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    _write_at_times("failed to sign in", credentials.get("username"), request)


def _locked_out(*, request: HttpRequest | None, username: str | None = None, **_: Any) -> None:
    _write_at_times("was locked out", username, request)


def _signed_out(*, request: HttpRequest | None, user: User | None, **_: Any) -> None:
    if user is not None:
        audit.of_account(user, "signed out", request)


def _write_at_times(verb: str, name: object, request: HttpRequest | None) -> None:
    """A name that nobody has is not written: people type passwords there."""
    user = User.objects.filter(username=name).first() if isinstance(name, str) and not NO_TEXT.search(name) else None
    if cache.add(f"audit:{verb.replace(' ', '-')}:{user.pk if user else ''}:{address_of(request)}", True, ONE_LINE_EVERY):
        audit.of_account(user, verb, request)
