"""Where a person is signed in, and how that ends. Django's own rows are the sessions; a row beside each says whose it is and from where.

A session that is ended is gone from the database, so the next request that comes with it is nobody's.
"""

import re
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.deprecation import MiddlewareMixin

from webapp.accounts import audit
from webapp.accounts.audit.writing import address_of
from webapp.accounts.models import SignedInSession, User

SEEN_EVERY = timedelta(minutes=1)
"""How exact "last seen" is: so often is a row written while a person works."""
SINCE = "signed_in_at"
"""The session's own key for when it began, which outlives a change of the session's name."""

NAME = re.compile("[0-9a-z]{8,40}")
"""What Django may have called a session. A cookie can hold anything."""

BROWSERS = (
    ("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"), ("python-", "Python"), ("curl/", "curl"),
)  # fmt: skip
SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)
"""What a browser's own words hold, and what it is called. The first that fits: most also name those after them."""


class NoteSession(MiddlewareMixin):
    """Notes after a request when and from where its session was last seen."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        key = getattr(request, "session", None) and request.session.session_key
        if not key or NAME.fullmatch(key) is None or not cache.add(_seen(key), True, SEEN_EVERY.total_seconds()):
            return response
        with suppress(OperationalError, InterfaceError):  # a database that is away was told in the response
            if (user := _owner(request)) is not None:
                _note(request, user, key)
        return response


def listen() -> None:
    """Called once, when the application is ready."""
    user_logged_in.connect(_signed_in, dispatch_uid="sessions")


def sessions_of(user: User) -> QuerySet[SignedInSession]:
    """Where the person is signed in now, last seen first."""
    return SignedInSession.objects.filter(user=user, session__expire_date__gt=timezone.now()).order_by("-seen_at")


@transaction.atomic
def end(user: User, session_id: int, request: HttpRequest) -> None:
    """Ends one of the person's sessions. Raises Http404 for anyone else's."""
    found = Session.objects.filter(signed_in__pk=session_id, signed_in__user=user)
    if not found.delete()[0]:
        raise Http404("There is no such session, or it is not yours.")
    audit.of_account(user, "ended a session", request)


@transaction.atomic
def end_others(user: User, request: HttpRequest) -> int:
    """Ends all of the person's sessions but the request's own; says how many."""
    others = Session.objects.filter(signed_in__user=user).exclude(pk=request.session.session_key or "")
    count = others.count()
    others.delete()
    if count:
        audit.of_account(user, "ended other sessions", request, count=count)
    return count


def end_all(user: User) -> int:
    """Ends every session of the person; says how many."""
    found = Session.objects.filter(signed_in__user=user)
    count = found.count()
    found.delete()
    return count


def browser_name(words: str) -> str:
    """`Firefox on Linux`; the beginning of a browser's own words where they are not known."""
    browser = next((name for mark, name in BROWSERS if mark in words), "")
    system = next((name for mark, name in SYSTEMS if mark in words), "")
    return " on ".join(part for part in (browser, system) if part) or words[:40] or "unknown"


def _signed_in(*, request: HttpRequest, user: User, **_: Any) -> None:
    request.session[SINCE] = timezone.now().isoformat()
    if request.session.session_key is None:  # emptied by Django, because it was somebody else's
        request.session.save()
    key = request.session.session_key or ""
    cache.set(_seen(key), True, SEEN_EVERY.total_seconds())
    _note(request, user, key)


def _owner(request: HttpRequest) -> User | None:
    """Who is signed in by the request's session. Who comes with a token may send any cookie beside it, also that of somebody else."""
    user = request.user
    return user if isinstance(user, User) and request.session.get(SESSION_KEY) == str(user.pk) else None


def _note(request: HttpRequest, user: User, key: str) -> None:
    seen = {"address": address_of(request), "browser": _clean(request.headers.get("User-Agent", "")), "seen_at": timezone.now()}
    if SignedInSession.objects.filter(session=key).update(**seen):
        return
    since = parse_datetime(request.session.get(SINCE, "")) or timezone.now()
    try:
        with transaction.atomic():
            SignedInSession.objects.create(session_id=key, user=user, signed_in_at=since, **seen)
    except IntegrityError:
        pass  # ended, or noted, by another request at this moment


def _clean(words: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "", words)[:200]


def _seen(key: str) -> str:
    return f"session-seen-{key}"
