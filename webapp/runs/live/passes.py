"""Whether who listens may go on listening: one look for all open streams of a process."""

from collections.abc import Collection
from dataclasses import dataclass
from importlib import import_module
from uuid import UUID

from django.conf import settings
from django.contrib.sessions.base_session import AbstractBaseSession
from django.utils import timezone

from webapp.accounts.models import Membership
from webapp.runs.models import Run


@dataclass(frozen=True)
class Pass:
    """What a stream was opened with: the session and the person's password's hash, the project, and the run where it is one run's stream."""

    session: str
    person: int
    password: str
    project: int
    run: UUID | None = None


def still_valid(passes: Collection[Pass]) -> set[Pass]:
    """Those whose session has neither ended nor expired, whose person is active, has the same password and is a member of a project that is
    not in the trash, and whose run is there. At most three statements."""
    sessions = _sessions({each.session for each in passes})
    members = set(
        Membership.objects.filter(
            user__in={each.person for each in passes},
            project__in={each.project for each in passes},
            project__deleted_at=None,
            user__is_active=True,
        ).values_list("user_id", "user__password", "project_id")
    )
    asked = {each.run for each in passes if each.run is not None}
    runs = set(Run.objects.filter(pk__in=asked).values_list("pk", flat=True)) if asked else set()
    return {
        each
        for each in passes
        if each.session in sessions and (each.person, each.password, each.project) in members and (each.run is None or each.run in runs)
    }


def _sessions(keys: Collection[str]) -> set[str]:
    model: type[AbstractBaseSession] = import_module(settings.SESSION_ENGINE).SessionStore.get_model_class()
    return set(model.objects.filter(session_key__in=keys, expire_date__gt=timezone.now()).values_list("session_key", flat=True))
