"""Sign-ins that keep failing are locked out for a quarter of an hour: of one name from one address, of one address, and of one name from anywhere.

| failures within COOLOFF | from | lock |
|---|---|---|
| 5 of one name | one address | that name from that address |
| 30 of any names | one address | that address |
| 50 of one name | any addresses | that name, from every address |

The last two would let a stranger lock a member out. So they do not hold for a name and an address that have signed in together within a
month: there only the first does, which a stranger elsewhere can't bring about. A member at a new place, while somebody guesses at their name
from ten addresses, waits until that has stopped for a quarter of an hour, or is let in by whoever operates the site (`manage.py
axes_reset_username`). Attempts that are turned away are not counted, so that asking again does not prolong a lock.
"""

from datetime import timedelta
from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt, AccessLog
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from webapp.gate.refusal import NotNow, response_to

FAILURES = 5
"""Of one name from one address. The others are turned into this measure."""
MOST = {("username", "ip_address"): FAILURES, ("ip_address",): 30, ("username",): 50}
COOLOFF = timedelta(minutes=15)
TRUSTED_FOR = timedelta(days=30)
SENTENCE = "Too many failed sign-ins with this name or from this address; try again in a quarter of an hour."


class Lockout(AxesDatabaseHandler):  # type: ignore[misc]
    """Counts as axes does, with a limit for each kind of lock."""

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """The worst of the three, in the measure of FAILURES."""
        name, address = (credentials or {}).get("username"), request.axes_ip_address  # type: ignore[attr-defined]
        kinds = list(MOST) if not _have_signed_in_together(name, address) else [("username", "ip_address")]
        recent = AccessAttempt.objects.filter(attempt_time__gte=timezone.now() - COOLOFF)
        given = {"username": name, "ip_address": address}
        counted = {kind: _failures(recent.filter(**{field: given[field] for field in kind})) for kind in kinds}
        return max(failures * FAILURES // MOST[kind] for kind, failures in counted.items())

    def reset_user_attempts(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """After a success, forgets the failures of that name at that address alone: an account of one's own must not clear one's guesses at others."""
        name = (credentials or {}).get("username")
        forgotten: int = AccessAttempt.objects.filter(username=name, ip_address=request.axes_ip_address).delete()[0]  # type: ignore[attr-defined]
        return forgotten


def refuse(request: HttpRequest, *_: Any) -> HttpResponse:
    """What who is locked out gets."""
    return response_to(NotNow(SENTENCE, status=429, seconds=COOLOFF.total_seconds()), request.path_info)


def _failures(attempts: QuerySet[Any]) -> int:
    return sum(attempts.values_list("failures_since_start", flat=True))


def _have_signed_in_together(name: str | None, address: str | None) -> bool:
    since = timezone.now() - TRUSTED_FOR
    return bool(AccessLog.objects.filter(username=name, ip_address=address, attempt_time__gte=since).exists())
