"""Who did what to which object, written in the transaction of the deed itself."""

from typing import Any

from webapp.accounts.models import AuditEntry, Project, User


def record(user: User, project: Project, verb: str, target: str, **detail: Any) -> None:
    """One line of the project's audit trail. A deed done with an API token names the token."""
    if user.token is not None:
        detail["token"] = user.token.prefix
    AuditEntry.objects.create(user=user, project=project, verb=verb, target=target[:200], detail=detail)
