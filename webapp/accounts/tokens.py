"""API tokens: `shp_` and 32 random bytes in base64url. The database holds a keyed hash only, so a token is seen once, when it is made.

A fast hash is enough: 256 random bits can't be guessed, so there is nothing for a slow one to protect. It is keyed with the site's secret: a copy of
the database can't say which text is a token. Hashed under an earlier secret, or before hashes were keyed, a token is found, and hashed anew at its use.
"""

import hashlib
import secrets
from datetime import timedelta

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404
from django.utils import timezone

from webapp.accounts import audit, keyed
from webapp.accounts.models import ApiToken, Project, Scope, User
from webapp.gate import limits

START = "shp_"
SHOWN = 10
"""How many of a token's characters are kept to recognize it by."""
DEFAULT_DAYS = 90
MAX_DAYS = 366
USE_RECORDED_EVERY = timedelta(minutes=1)
PURPOSE = "api-token"


class TokenRefused(Exception):
    """A token that can't be used: unknown, expired, revoked, or of a person who may no longer sign in. The message is for its holder."""


@transaction.atomic
def make(user: User, project: Project, *, name: str, scope: Scope, days: int = DEFAULT_DAYS) -> tuple[ApiToken, str]:
    """A new token for one project, that expires after `days` (1 to 366), and its text, which is stored nowhere.

    Raises PermissionDenied where the request itself came with a token that is not an admin's: a token can't make a stronger one. Raises
    NotNow beyond STILLHOUSE_TOKEN_RATE.
    """
    if user.token is not None and user.token.scope != Scope.ADMIN:
        raise PermissionDenied(
            f"This needs a token with the scope admin, or a signed-in person; the scope of {user.token.name} is {user.token.scope}."
        )
    limits.spend("tokens", str(user.pk))
    text = START + secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        user=user,
        project=project,
        name=name,
        prefix=text[:SHOWN],
        digest=keyed.digests(text, purpose=PURPOSE)[0],
        scope=scope,
        expires_at=timezone.now() + timedelta(days=days),
    )
    audit.record(user, project, "made token", token.prefix, name=name, scope=scope.value, days=days)
    return token, text


def find(text: str) -> ApiToken:
    """The token with this text, its user and project fetched. Raises TokenRefused with the reason. Notes its use, at most once a minute."""
    known = [*keyed.digests(text, purpose=PURPOSE), _unkeyed(text)]
    token = ApiToken.objects.select_related("user", "project").filter(digest__in=known).first()
    now = timezone.now()
    if token is None or not token.user.is_active:
        raise TokenRefused("This token is not known; make a new one on the tokens page.")
    if token.project.deleted_at is not None:
        raise TokenRefused("The project of this token was deleted; its owner can restore it.")
    if token.revoked_at is not None:
        raise TokenRefused(f"This token was revoked on {token.revoked_at:%Y-%m-%d}; make a new one on the tokens page.")
    if token.expires_at is not None and token.expires_at <= now:
        raise TokenRefused(f"This token expired on {token.expires_at:%Y-%m-%d}; make a new one on the tokens page.")
    is_stale = token.last_used_at is None or token.last_used_at <= now - USE_RECORDED_EVERY
    if is_stale or token.digest != known[0]:
        outdated = ~Q(digest=known[0]) | Q(last_used_at__isnull=True) | Q(last_used_at__lte=now - USE_RECORDED_EVERY)
        ApiToken.objects.filter(outdated, pk=token.pk).update(last_used_at=now, digest=known[0])
    return token


def tokens_of(user: User) -> QuerySet[ApiToken]:
    """The person's tokens, newest first; only those of the token's project when the request came with one."""
    mine = ApiToken.objects.filter(user=user, project__deleted_at=None).select_related("project").order_by("-created_at", "-pk")
    return mine if user.token is None else mine.filter(project=user.token.project_id)


@transaction.atomic
def revoke(user: User, token_id: int) -> ApiToken:
    """Ends one of the person's tokens at once; again is harmless. Raises Http404 for anyone else's."""
    token = tokens_of(user).filter(pk=token_id).first()
    if token is None:
        raise Http404("There is no such token, or it is not yours.")
    if user.token is not None and user.token.scope != Scope.ADMIN and user.token.pk != token.pk:
        raise PermissionDenied("A token that is not an admin's can revoke only itself.")
    if token.revoked_at is None:
        token.revoked_at = timezone.now()
        token.save(update_fields=["revoked_at"])
        audit.record(user, token.project, "revoked token", token.prefix, name=token.name)
    return token


@transaction.atomic
def revoke_all(user: User) -> int:
    """Ends every token of the person that still works, in all projects; says how many."""
    found = list(ApiToken.objects.select_for_update().filter(user=user, revoked_at=None).select_related("project").order_by("pk"))
    ApiToken.objects.filter(pk__in=[token.pk for token in found]).update(revoked_at=timezone.now())
    for token in found:
        audit.record(user, token.project, "revoked token", token.prefix, name=token.name)
    return len(found)


def _unkeyed(text: str) -> str:
    """SHA-256 in hex digits: how tokens were stored at first."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
