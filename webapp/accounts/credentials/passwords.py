"""Passwords: changed by their owner, and made anew by a link that comes by mail or from an operator.

A new password ends every other session. API tokens go on, unless the person says otherwise: pages say so.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.forms import PasswordChangeForm, PasswordResetForm
from django.contrib.auth.tokens import default_token_generator
from django.core.cache import cache
from django.db import connections, transaction
from django.forms import BooleanField, ValidationError
from django.http import HttpRequest
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from webapp.accounts import audit, keyed, tokens
from webapp.accounts.credentials import sessions
from webapp.accounts.models import User

log = logging.getLogger(__name__)

ONE_MAIL_EVERY = 300
"""Seconds. So often at most does one address get mail, whoever asks."""

_beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mail")


def is_known(request: HttpRequest, user: User, password: str) -> bool:
    """Whether this is the person's password. Asked as a sign-in is, so that failures count and lock in the same way."""
    return authenticate(request, username=user.get_username(), password=password) is not None


class ChangePasswordForm(PasswordChangeForm):
    """The present password, and the new one twice."""

    revoke_tokens = BooleanField(required=False, label="Also revoke all my API tokens")

    def __init__(self, user: User, request: HttpRequest, data: Any = None) -> None:
        super().__init__(user, data)
        self.request = request

    def clean_old_password(self) -> str:
        """Raises ValidationError where it is not the present one."""
        old = str(self.cleaned_data["old_password"])
        if not is_known(self.request, self.user, old):
            raise ValidationError(self.error_messages["password_incorrect"], code="password_incorrect")
        return old


class ForgottenPasswordForm(PasswordResetForm):
    """An e-mail address. Whether an account has it shows neither in the response nor in how long that takes: `post` does the rest."""

    def post(self, request: HttpRequest) -> None:
        """Looks for accounts with the address and sends each a link, beside the request."""
        if cache.add(keyed.digests(self.cleaned_data["email"].lower(), purpose="reset-mail")[0], True, ONE_MAIL_EVERY):
            _beside.submit(self._save, request)

    def send_mail(self, *args: Any, **about: Any) -> None:
        """As Django does, which logs a mail that could not be sent; and a line of the audit trail."""
        context = args[2] if len(args) > 2 else about["context"]
        audit.of_account(context["user"], "asked for a new password", self.request)
        super().send_mail(*args, **about)

    def _save(self, request: HttpRequest) -> None:
        self.request = request
        try:
            self.save(
                request=request,
                use_https=request.is_secure(),
                subject_template_name="accounts/password_mail_subject.txt",
                email_template_name="accounts/password_mail.txt",
            )
        except Exception:
            log.exception("A link for a new password was not made.")
        finally:
            connections.close_all()


@transaction.atomic
def note_change(user: User, request: HttpRequest, *, by: str, revoke_tokens: bool = False) -> tuple[int, int]:
    """What follows from a new password: other sessions end, tokens if asked for. Says how many of each."""
    ended = sessions.end_others(user, request)
    revoked = tokens.revoke_all(user) if revoke_tokens else 0
    audit.of_account(user, "changed password", request, by=by)
    return ended, revoked


def link_for(user: User, site: str) -> str:
    """An address, good once and for PASSWORD_RESET_TIMEOUT seconds, at which a new password can be set. `site` is `https://host`."""
    name = urlsafe_base64_encode(force_bytes(user.pk))
    return site.rstrip("/") + reverse("password-reset-confirm", args=[name, default_token_generator.make_token(user)])


def by_mail() -> bool:
    """Whether links are sent by mail."""
    return bool(settings.EMAIL_HOST)
