"""What people do to runs: permission, the change itself, and a line in the audit trail, in one transaction. Pages and API call these."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db import transaction
from pydantic import AfterValidator, Field, StringConstraints

from engine.errors import Problem, SpecError
from engine.spec.cards import StrictModel
from engine.spec.sentences import problems_of
from webapp import legible
from webapp.accounts import audit
from webapp.accounts.models import Project, Role, User
from webapp.accounts.permissions import require
from webapp.api.body import unstorable
from webapp.runs import doorbell, lifecycle, quotas
from webapp.runs.access import run_for
from webapp.runs.models import PRIORITIES, Run


def _without_commas(tag: str) -> str:
    if "," in tag:
        raise ValueError(f"must hold no commas; got {tag!r:.80}")
    return tag


Tag = Annotated[
    str,
    StringConstraints(min_length=1, max_length=60, strip_whitespace=True),
    AfterValidator(legible.line),
    AfterValidator(_without_commas),
    Field(json_schema_extra={"pattern": f"^[^,{legible.UNSEEN}{legible.TURNING}]+$"}),
]
IN_A_LINE = (AfterValidator(legible.line), Field(json_schema_extra={"pattern": legible.LINE_PATTERN}))
Name = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), *IN_A_LINE]
Notes = Annotated[
    str,
    StringConstraints(max_length=20_000),
    AfterValidator(legible.lines),
    Field(json_schema_extra={"pattern": legible.LINES_PATTERN}),
]
Priority = Annotated[int, Field(ge=PRIORITIES[0], le=PRIORITIES[-1])]
MOST_TAGS = 20


class RunChanges(StrictModel):
    """What can be changed of a launched run: nothing that its weights depend on."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), *IN_A_LINE] = Field(
        "", description="Name of the run."
    )
    notes: Notes = Field("", description="What the run is for, as plain text.")
    tags: list[Tag] = Field(default_factory=list, max_length=MOST_TAGS, description="Words to find runs by; replaces the old ones.")
    priority: Priority = Field(0, description="Higher goes first.")
    keep_checkpoints: bool = Field(False, description="Keep its checkpoints after it has succeeded.")


@transaction.atomic
def stop(user: User, run_id: UUID) -> Run:
    """Asks for a stop; a run that nobody holds is stopped at once. Raises NotAllowed when it has ended."""
    run = run_for(user, run_id, Role.OPERATOR)
    lifecycle.request_stop(run, user)
    return _done(user, run, "stopped")


@transaction.atomic
def resume(user: User, run_id: UUID) -> Run:
    """Queues a stopped or failed run again, to go on from its last checkpoint. Raises NotAllowed in any other state."""
    run = run_for(user, run_id, Role.OPERATOR)
    _require_room(user, run)
    lifecycle.requeue(run, user)
    return _done(user, run, "resumed")


@transaction.atomic
def retry(user: User, run_id: UUID) -> Run:
    """Queues a stopped or failed run again, from the start. Raises NotAllowed in any other state."""
    run = run_for(user, run_id, Role.OPERATOR)
    _require_room(user, run)
    lifecycle.requeue(run, user, from_scratch=True)
    return _done(user, run, "retried")


@transaction.atomic
def delete(user: User, run_id: UUID) -> Run:
    """Moves a run to the trash. Raises NotAllowed while a worker holds it."""
    run = run_for(user, run_id, Role.OPERATOR)
    lifecycle.trash(run, user)
    return _done(user, run, "deleted")


@transaction.atomic
def restore(user: User, run_id: UUID) -> Run:
    """Takes a run out of the trash."""
    run = run_for(user, run_id, Role.OPERATOR)
    lifecycle.restore(run, user)
    return _done(user, run, "restored")


@transaction.atomic
def edit(user: User, run_id: UUID, changes: Any) -> Run:
    """Changes name, notes, tags, priority, or whether its checkpoints are kept. Raises SpecError with every refused field."""
    run = run_for(user, run_id, Role.OPERATOR)
    if not isinstance(changes, Mapping):
        raise SpecError.at("", "the body must be a JSON object with the fields to change.")
    if problems := unstorable(changes) or problems_of(RunChanges, changes):
        raise SpecError(problems)
    new = RunChanges.model_validate(changes).model_dump(exclude_unset=True)
    if "tags" in new:
        new["tags"] = list(dict.fromkeys(new["tags"]))
    priority = new.pop("priority", None)
    if (
        priority is not None
        and priority != run.priority
        and (problems := priority_problems(user, run.project, Role(run.my_role), priority))
    ):
        raise SpecError(problems)
    if new:
        Run.objects.filter(pk=run.pk).update(**new)
        doorbell.announce(run.pk, ["state"])
    if priority is not None:
        lifecycle.set_priority(run, user, priority)
    return _done(user, run, "edited", fields=sorted(changes))


def _require_room(user: User, run: Run) -> None:
    """Raises NotAllowed where the quota of the project or the person lets no further run wait."""
    for one in quotas.problems(run.project, user, runs=1, steps=0, seconds=None):
        raise lifecycle.NotAllowed(one.message)


def priority_problems(user: User, project: Project, role: Role, priority: Any) -> list[Problem]:
    """Why the person may not give a run this priority: before those of everybody else is for the project's owners."""
    if not isinstance(priority, int) or priority <= 0 or priority not in PRIORITIES:
        return []
    try:
        require(user, project, role, Role.OWNER)
    except PermissionDenied as error:
        return [Problem("priority", f"must be at most 0, but for the project's owners; got {priority}. {error}")]
    return []


def _done(user: User, run: Run, verb: str, **detail: Any) -> Run:
    """The run as it is after the deed, which goes into the audit trail."""
    audit.record(user, run.project, verb, f"run {run.pk}", name=run.name, **detail)
    return run_for(user, run.pk)
