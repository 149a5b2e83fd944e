"""What people do to a run: submit it, stop it, queue it again, put it into the trash, move it in the queue."""

from django.db.models.functions import Now

from webapp.accounts.models import User
from webapp.accounts.trash import time_is_up
from webapp.runs import doorbell
from webapp.runs.lifecycle import elsewhere
from webapp.runs.lifecycle.states import ALLOWED, IN_WORDS, NO_PLACE, NotAllowed, enqueue, locked, move, name_of, note, require
from webapp.runs.models import ENDED, HELD, PRIORITIES, Run, State


def submit(run: Run, *, who: User | str) -> Run:
    """draft → queued, and rings for a worker."""
    with locked(run.pk) as row:
        require(row, State.QUEUED, "be submitted", only_from={State.DRAFT})
        return enqueue(row, who, "Submitted.")


def request_stop(run: Run, who: User | str) -> Run:
    """Asks the worker that holds the run to stop after its step, with a checkpoint; a run that nobody holds is stopped at once.

    Asking twice changes nothing. Raises NotAllowed when the run has ended.
    """
    with locked(run.pk) as row:
        if row.state in HELD:
            if row.stop_requested_at is None:
                Run.objects.filter(pk=row.pk).update(stop_requested_at=Now(), stop_requested_by=who if isinstance(who, User) else None)
                doorbell.announce(row.pk, ["state"])
        else:
            require(row, State.STOPPED, "be stopped")
            move(row, State.STOPPED, who, f"Stopped by {name_of(who)} before it started.")
        return Run.objects.get(pk=row.pk)


def requeue(run: Run, who: User | str, *, from_scratch: bool = False) -> Run:
    """Puts a stopped or failed run back into the queue: from its last checkpoint, or `from_scratch`."""
    with locked(run.pk) as row:
        require(row, State.QUEUED, "be retried" if from_scratch else "be resumed", only_from={State.STOPPED, State.FAILED})
        if row.deleted_at is not None:
            raise NotAllowed("The run is in the trash; restore it first.")
        if from_scratch and row.began_after is not None:
            raise NotAllowed("The run began with the checkpoint of another one, so it has no start of its own; continue that one again.")
        elsewhere.forgive(row)
        if from_scratch:
            Run.objects.filter(pk=row.pk).update(**NO_PLACE)
            return enqueue(row, who, "Again from the start.")
        return enqueue(
            row,
            who,
            f"Goes on from step {row.checkpoint_step}." if row.checkpoint_step else "Again from the start; there is no checkpoint.",
        )


def held_for_continuing(run: Run) -> Run:
    """The run as it is, its row locked until the transaction ends, for a new one to go on from its checkpoint. Raises NotAllowed where it has
    not ended, and where it kept no checkpoint."""
    row = Run.objects.select_for_update(no_key=True, of=("self",)).select_related("project").get(pk=run.pk)
    if row.state not in ENDED:
        raise NotAllowed(f"The run {IN_WORDS[State(row.state)]}, so it can't be continued; a run is continued when it has ended.")
    if row.deleted_at is not None:
        raise NotAllowed("The run is in the trash; restore it first.")
    if not row.checkpoint_path:
        raise NotAllowed("The run kept no checkpoint, so nothing can go on from it; launch it anew with the larger budget.")
    return row


def trash(run: Run, who: User | str) -> Run:
    """Puts a run into the trash; a waiting run is stopped first. Raises NotAllowed while a worker holds it."""
    with locked(run.pk) as row:
        if row.state in HELD:
            raise NotAllowed(f"The run is {row.state}; stop it before deleting it.")
        if State.STOPPED in ALLOWED[State(row.state)]:
            move(row, State.STOPPED, who, "Deleted before it started.")
        if row.deleted_at is None:
            Run.objects.filter(pk=row.pk).update(deleted_at=Now())
            note(row, who, "Moved to the trash.")
        return Run.objects.get(pk=row.pk)


def restore(run: Run, who: User | str) -> Run:
    """Takes a run out of the trash."""
    with locked(run.pk) as row:
        if row.deleted_at is None:
            raise NotAllowed("The run is not in the trash.")
        if not Run.objects.filter(pk=row.pk, deleted_at__gte=time_is_up()).exists():
            raise NotAllowed("The run was in the trash for too long; it is about to be deleted for good.")
        Run.objects.filter(pk=row.pk).update(deleted_at=None)
        note(row, who, "Taken out of the trash.")
        return Run.objects.get(pk=row.pk)


def set_priority(run: Run, who: User | str, priority: int) -> Run:
    """Moves a run forward (higher) or back in the queue. It matters whenever the run next waits."""
    if priority not in PRIORITIES:
        raise NotAllowed(f"priority must be a whole number from {PRIORITIES[0]} to {PRIORITIES[-1]}; got {priority}.")
    with locked(run.pk) as row:
        if row.priority != priority:
            Run.objects.filter(pk=row.pk).update(priority=priority)
            note(row, who, f"Priority {row.priority} → {priority}.")
        return Run.objects.get(pk=row.pk)
