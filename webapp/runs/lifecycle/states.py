"""The states of a run as data, and the one place where a state changes.

A change is always a line of history too: `move` writes both. `people.py`, `workers.py` and `watchdog.py` have the verbs, each a
transaction of its own around a call of these.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from webapp.accounts.models import User
from webapp.conflict import Conflict
from webapp.runs import doorbell
from webapp.runs.models import ENDED, HistoryLine, Run, State

ALLOWED: Mapping[State, frozenset[State]] = {
    State.DRAFT: frozenset({State.QUEUED, State.STOPPED}),
    State.QUEUED: frozenset({State.STARTING, State.STOPPED}),
    State.STARTING: frozenset({State.RUNNING, State.QUEUED, State.FAILED, State.STOPPED}),  # QUEUED: lost before the first step
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.STOPPED, State.QUEUED}),
    State.FAILED: frozenset({State.QUEUED}),  # a person said: again
    State.STOPPED: frozenset({State.QUEUED}),
    State.SUCCEEDED: frozenset(),
}

IN_WORDS: Mapping[State, str] = {
    State.DRAFT: "is a draft",
    State.QUEUED: "is queued",
    State.STARTING: "is starting",
    State.RUNNING: "is running",
    State.SUCCEEDED: "has already succeeded",
    State.FAILED: "has already failed",
    State.STOPPED: "is already stopped",
}


class NotAllowed(Conflict):
    """A run in this state can't be changed so. The message is a sentence for the person who asked."""


@contextmanager
def locked(run_id: UUID) -> Iterator[Run]:
    """A transaction that has the run's row to itself. NO KEY: log lines and points that refer to the run don't wait."""
    with transaction.atomic():
        yield Run.objects.select_for_update(no_key=True).get(pk=run_id)


NO_PLACE: Mapping[str, Any] = {"checkpoint_step": None, "checkpoint_path": "", "checkpoint_bytes": 0}
"""The columns of a run that has no checkpoint to go on from."""


def require(run: Run, after: State, deed: str, *, only_from: set[State] | None = None) -> None:
    """Raises NotAllowed, with a sentence that names the deed ("be stopped"), unless the run's state allows the change."""
    before = State(run.state)
    if after not in ALLOWED[before] or (only_from is not None and before not in only_from):
        raise NotAllowed(f"The run {IN_WORDS[before]}, so it can't {deed}.")


def move(run: Run, after: State, who: User | str, reason: str, **changes: Any) -> State:
    """The one place where a state changes. `run` is locked."""
    before = State(run.state)
    if after not in ALLOWED[before]:
        raise NotAllowed(f"A run can't go from {before} to {after}.")
    ended = {"finished_at": Now(), "stop_requested_at": None} if after in ENDED else {}
    Run.objects.filter(pk=run.pk).update(state=after, reason=reason, **ended, **changes)
    HistoryLine.objects.create(run_id=run.pk, who=name_of(who), before=before, after=after, reason=reason)
    run.state = after
    doorbell.announce(run.pk, ["state", "launched"] if before == State.DRAFT else ["state"], project=run.project_id)
    return after


def enqueue(run: Run, who: User | str, reason: str, *, keep_place: bool = False) -> Run:
    """→ queued, and rings. `keep_place`: it waits since it first waited, because it was not the run's fault."""
    place = {} if keep_place else {"queued_at": Now()}
    move(run, State.QUEUED, who, reason, finished_at=None, stop_requested_at=None, stop_requested_by=None, **place)
    doorbell.ring(run.device_kind)
    return Run.objects.get(pk=run.pk)


def note(run: Run, who: User | str, reason: str) -> None:
    """A line of history that changes no state."""
    HistoryLine.objects.create(run_id=run.pk, who=name_of(who), before=run.state, after=run.state, reason=reason)
    doorbell.announce(run.pk, ["state"])


def name_of(who: User | str) -> str:
    """How a person, a worker or the watchdog signs a line of history."""
    return who if isinstance(who, str) else who.get_username()
