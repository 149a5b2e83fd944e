"""Lines of the audit trail, written in the transaction of the deed itself."""

from typing import Any

from django.http import HttpRequest

from webapp.accounts.models import AuditEntry, Project, User

OPERATOR = "operator's command"
"""Who a deed is of that was done by a command on the server."""


def record(user: User, project: Project, verb: str, target: str, **detail: Any) -> None:
    """One line of the project's audit trail. A deed done with an API token names the token."""
    _write(user, verb, target, detail, project=project)


def verdict(user: User, project: Project, target: str, given: str, **detail: Any) -> None:
    """A reviewer's verdict, in the project's audit trail: of what (`run …`), which, and what else there is to say."""
    record(user, project, "gave verdict", target, verdict=given, **detail)


def of_account(user: User | None, verb: str, request: HttpRequest | None, **detail: Any) -> None:
    """A line about an account: of the person, from the request's address. `user` is None where nobody has the name that was tried."""
    target = user.get_username() if user else "unknown name"
    _write(user, verb, target, detail, address=address_of(request))


def by_operator(user: User, verb: str, **detail: Any) -> None:
    """A line about an account, for what a command on the server did to it."""
    AuditEntry.objects.create(who=OPERATOR, verb=verb, target=user.get_username()[:200], detail=detail)


def address_of(request: HttpRequest | None) -> str | None:
    """Where a request came from; None where there is no network, as in a test or under a Unix socket."""
    return (request.META.get("REMOTE_ADDR") or None) if request is not None else None


def _write(
    user: User | None, verb: str, target: str, detail: dict[str, Any], *, project: Project | None = None, address: str | None = None
) -> None:
    if user is not None and user.token is not None:
        detail["token"] = user.token.prefix
    AuditEntry.objects.create(
        user=user,
        who=user.get_username() if user else "",
        project=project,
        project_slug=project.slug if project else "",
        verb=verb,
        target=target[:200],
        detail=detail,
        address=address,
    )
