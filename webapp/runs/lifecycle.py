"""The life of a run: the only module that writes its state.

Each verb is one short transaction that writes the new state and a line of history together. People's verbs: submit, request_stop,
requeue, trash, restore, set_priority. A worker's: claim_next, started, renew, checkpointed, settle, crashed. The watchdog's:
requeue_expired, mark_silent.

A worker holds a run by its attempt's number, the token. Every write of a worker begins its transaction with the run's row, `WHERE id AND
attempt = token AND held`, locked FOR SHARE: no row, no write (LeaseLost). A take-over changes that row, so it waits for a write in flight
and none can follow it. The heartbeat is on the attempt's row, which no other write touches. Time is the database's.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Coalesce, Now

from webapp.accounts.models import User
from webapp.runs import doorbell, lineage
from webapp.runs.history import headline as latest
from webapp.runs.history import points
from webapp.runs.models import ENDED, HELD, Attempt, Evaluation, HistoryLine, Run, State

if TYPE_CHECKING:
    from engine.events import Outcome

ALLOWED: Mapping[State, frozenset[State]] = {
    State.DRAFT: frozenset({State.QUEUED, State.STOPPED}),
    State.QUEUED: frozenset({State.STARTING, State.STOPPED}),
    State.STARTING: frozenset({State.RUNNING, State.QUEUED, State.FAILED, State.STOPPED}),  # QUEUED: lost before the first step
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.STOPPED, State.QUEUED}),
    State.FAILED: frozenset({State.QUEUED}),  # a person said: again
    State.STOPPED: frozenset({State.QUEUED}),
    State.SUCCEEDED: frozenset(),
}

TRIES_WITHOUT_PROGRESS = 3
"""So many attempts in a row may end without a new checkpoint and without an answer before the run is given up."""

LAST_LINES = 20_000
"""Characters of a child's output that are kept on its attempt."""

WATCHDOG = "watchdog"


class LeaseLost(Exception):
    """This worker no longer holds the run. It kills the child and writes nothing more."""


class NotAllowed(Exception):
    """A run in this state can't be changed so. The message is a sentence for the person who asked."""


@dataclass(frozen=True)
class Token:
    """What a worker shows before it writes."""

    run_id: UUID
    attempt: int


@dataclass(frozen=True)
class Claim:
    """A run that this worker now holds. Paths are relative to the store; `models` maps `run:<uuid>` to an exported student's folder."""

    run_id: UUID
    attempt: int
    spec: dict[str, Any]
    device_kind: doorbell.DeviceKind
    device_count: int
    resume_path: str | None
    from_step: int
    models: dict[str, str]

    @property
    def token(self) -> Token:
        return Token(self.run_id, self.attempt)

    @property
    def folder(self) -> str:
        """Where the attempt writes: `runs/<run id>/attempt-<number>`."""
        return attempt_folder(self.run_id, self.attempt)


@dataclass(frozen=True)
class Orders:
    """What a worker learns with each heartbeat."""

    stop: bool


def attempt_folder(run_id: UUID, attempt: int) -> str:
    """The folder of one attempt, relative to the store. No two attempts share one, so a late writer spoils nothing."""
    return f"runs/{run_id}/attempt-{attempt}"


# ---- people ----------------------------------------------------------------------------------------------------------------------


def submit(run: Run, *, who: User | str) -> Run:
    """draft → queued, and rings for a worker."""
    with _locked(run.pk) as row:
        _require(row, State.QUEUED, "be submitted", only_from={State.DRAFT})
        return _enqueue(row, who, "Submitted.")


def request_stop(run: Run, who: User | str) -> Run:
    """Asks the worker that holds the run to stop after its step, with a checkpoint; a run that nobody holds is stopped at once.

    Asking twice changes nothing. Raises NotAllowed when the run has ended.
    """
    with _locked(run.pk) as row:
        if row.state in HELD:
            if row.stop_requested_at is None:
                Run.objects.filter(pk=row.pk).update(stop_requested_at=Now(), stop_requested_by=who if isinstance(who, User) else None)
                doorbell.announce(row.pk, ["state"])
        else:
            _require(row, State.STOPPED, "be stopped")
            _move(row, State.STOPPED, who, f"Stopped by {_name(who)} before it started.")
        return Run.objects.get(pk=row.pk)


def requeue(run: Run, who: User | str, *, from_scratch: bool = False) -> Run:
    """Puts a stopped or failed run back into the queue: from its last checkpoint, or `from_scratch`."""
    with _locked(run.pk) as row:
        _require(row, State.QUEUED, "be retried" if from_scratch else "be resumed", only_from={State.STOPPED, State.FAILED})
        if row.deleted_at is not None:
            raise NotAllowed("The run is in the trash; restore it first.")
        if from_scratch:
            Run.objects.filter(pk=row.pk).update(checkpoint_step=None, checkpoint_path="")
            return _enqueue(row, who, "Again from the start.")
        return _enqueue(
            row,
            who,
            f"Goes on from step {row.checkpoint_step}." if row.checkpoint_step else "Again from the start; there is no checkpoint.",
        )


def trash(run: Run, who: User | str) -> Run:
    """Puts a run into the trash; a waiting run is stopped first. Raises NotAllowed while a worker holds it."""
    with _locked(run.pk) as row:
        if row.state in HELD:
            raise NotAllowed(f"The run is {row.state}; stop it before deleting it.")
        if State.STOPPED in ALLOWED[State(row.state)]:
            _move(row, State.STOPPED, who, "Deleted before it started.")
        if row.deleted_at is None:
            Run.objects.filter(pk=row.pk).update(deleted_at=Now())
            _note(row, who, "Moved to the trash.")
        return Run.objects.get(pk=row.pk)


def restore(run: Run, who: User | str) -> Run:
    """Takes a run out of the trash."""
    with _locked(run.pk) as row:
        if row.deleted_at is None:
            raise NotAllowed("The run is not in the trash.")
        Run.objects.filter(pk=row.pk).update(deleted_at=None)
        _note(row, who, "Taken out of the trash.")
        return Run.objects.get(pk=row.pk)


def set_priority(run: Run, who: User | str, priority: int) -> Run:
    """Moves a run forward (higher) or back in the queue. It matters whenever the run next waits."""
    if not -100 <= priority <= 100:
        raise NotAllowed(f"priority must be a whole number from -100 to 100; got {priority}.")
    with _locked(run.pk) as row:
        if row.priority != priority:
            Run.objects.filter(pk=row.pk).update(priority=priority)
            _note(row, who, f"Priority {row.priority} → {priority}.")
        return Run.objects.get(pk=row.pk)


# ---- workers ---------------------------------------------------------------------------------------------------------------------


def claim_next(*, worker: str, kinds: tuple[doorbell.DeviceKind, ...], free: Mapping[doorbell.DeviceKind, int]) -> Claim | None:
    """queued → starting for the best run that fits what is free, or None.

    Best is the highest priority, then the longest wait. A run asks for a kind and a number of devices; "any" fits either kind, a GPU first.
    A row that another worker is claiming is skipped, so two workers never wait for each other and never get the same run.
    """
    fits = Q(pk__in=[])
    for kind in kinds:
        if free.get(kind, 0) > 0:
            # Only GPUs are had by the dozen: a run on the CPU has one slot.
            fits |= Q(device_kind__in=[kind, "any"], device_count__lte=free[kind] if kind == "cuda" else 1)
    with transaction.atomic():
        queue = Run.objects.select_for_update(skip_locked=True, no_key=True).filter(
            fits, state=State.QUEUED, deleted_at=None, stop_requested_at=None
        )
        run = queue.order_by("-priority", "queued_at").first()
        if run is None:
            return None
        number, from_step = run.attempt + 1, run.checkpoint_step or 0
        Run.objects.filter(pk=run.pk).update(attempt=number)
        Attempt.objects.create(run=run, number=number, worker=worker, from_step=from_step)
        _move(run, State.STARTING, worker, f"Claimed by {worker}.")
        return Claim(
            run_id=run.pk,
            attempt=number,
            spec=run.spec,
            device_kind="cuda" if run.device_kind != "cpu" and "cuda" in kinds and free.get("cuda", 0) >= run.device_count else "cpu",
            device_count=run.device_count,
            resume_path=run.checkpoint_path or None,
            from_step=from_step,
            models=lineage.models_of(run),
        )


def started(token: Token, *, pid: int, device: str) -> None:
    """starting → running: the child is there. What history holds beyond the attempt's first step is cut off, in the same transaction."""
    with _held(token) as run:
        attempt = Attempt.objects.get(run=run, number=token.attempt)
        if token.attempt > 1:
            points.cut(run.pk, after=attempt.from_step, attempt=token.attempt)
            Evaluation.objects.filter(run=run, step__gt=attempt.from_step).delete()
            latest.refresh(run.pk)
        Attempt.objects.filter(pk=attempt.pk).update(pid=pid, device=device[:200])  # last: a heartbeat waits for it
        Run.objects.filter(pk=run.pk).update(started_at=Coalesce(F("started_at"), Now()), step=attempt.from_step)
        _move(
            run,
            State.RUNNING,
            attempt.worker,
            f"Runs on {device}." if not attempt.from_step else f"Goes on from step {attempt.from_step} on {device}.",
        )


def renew(token: Token) -> Orders:
    """A heartbeat. Touches only the attempt's row, so it never waits for a write of history. Raises LeaseLost."""
    with transaction.atomic():
        alive = Attempt.objects.filter(run_id=token.run_id, number=token.attempt, ended_at=None).update(
            heartbeat_at=Now(), silent_since=None
        )
        if not alive:
            raise LeaseLost(_lost(token))
        stop = Run.objects.filter(pk=token.run_id, stop_requested_at__isnull=False).exists()
        return Orders(stop=stop)


@contextmanager
def fenced(token: Token) -> Iterator[None]:
    """A transaction of the worker that holds the run: all of it is written while the token is good, or nothing is. Raises LeaseLost.

    FOR SHARE and not FOR KEY SHARE: only the former makes a take-over wait.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM runs_run WHERE id = %s AND attempt = %s AND state IN ('starting', 'running') FOR SHARE",
                [token.run_id, token.attempt],
            )
            if cursor.fetchone() is None:
                raise LeaseLost(_lost(token))
        yield


def checkpointed(token: Token, step: int, path: str) -> None:
    """The run can go on from here: `path`, relative to the store, is durable and all points up to `step` are written."""
    with fenced(token):
        Run.objects.filter(pk=token.run_id).update(checkpoint_step=step, checkpoint_path=path)


def settle(token: Token, outcome: "Outcome", last_lines: str = "") -> State:
    """running → succeeded, failed or stopped, as the engine said; a success leaves a ModelRecord. Returns the new state.

    A run that stopped though nobody asked for it was interrupted by its worker's shutdown: it goes back into the queue.
    """
    with _held(token) as run:
        _end_attempt(token, outcome.status, outcome.reason, last_lines)
        Run.objects.filter(pk=run.pk).update(step=outcome.step)
        worker = _worker(token)
        if outcome.status == "succeeded":
            lineage.record_student(run)
            return _move(run, State.SUCCEEDED, worker, outcome.reason)
        if outcome.status == "failed":
            return _move(run, State.FAILED, worker, outcome.reason)
        if run.stop_requested_at is not None:
            return _move(run, State.STOPPED, worker, outcome.reason)
        return State(_enqueue(run, worker, "Its worker is shutting down.", keep_place=True).state)


def crashed(token: Token, reason: str, last_lines: str = "") -> State:
    """The child died without an answer. The run is queued again, from its last checkpoint, unless it keeps dying there. Returns the new state."""
    with _held(token) as run:
        _end_attempt(token, "crashed", reason, last_lines)
        return _again_or_end(run, _worker(token), reason)


# ---- the watchdog ----------------------------------------------------------------------------------------------------------------


def requeue_expired() -> list[UUID]:
    """Takes runs from workers that were silent for longer than the lease: back into the queue, or to their end. Returns their ids.

    Two watchdogs never take the same run: the second skips the locked row, or finds the attempt ended.
    """
    taken = []
    expired = _current_attempts(settings.LEASE_SECONDS)
    for run_id in Run.objects.filter(Exists(expired), state__in=HELD).values_list("pk", flat=True):
        with transaction.atomic():
            run = Run.objects.select_for_update(skip_locked=True, no_key=True).filter(pk=run_id, state__in=HELD).first()
            if run is None:
                continue
            token = Token(run.pk, run.attempt)
            reason = f"{_worker(token)} was silent for more than {settings.LEASE_SECONDS:g} seconds."
            # The condition again, in the statement that ends the attempt: a heartbeat may have come in between.
            ended = Attempt.objects.filter(run=run, number=run.attempt, ended_at=None, heartbeat_at__lt=_before(settings.LEASE_SECONDS))
            if ended.update(ended_at=Now(), exit="lost", reason=reason):
                _again_or_end(run, WATCHDOG, reason)
                taken.append(run.pk)
    return taken


def mark_silent() -> list[UUID]:
    """Marks attempts whose worker has been quiet for a while; the next heartbeat takes the mark away. Returns the newly marked runs' ids."""
    with transaction.atomic():
        quiet = Run.objects.filter(Exists(_current_attempts(settings.SILENT_SECONDS).filter(silent_since=None)), state__in=HELD)
        run_ids = list(quiet.values_list("pk", flat=True))
        late = Q(heartbeat_at__lt=_before(settings.SILENT_SECONDS), ended_at=None, silent_since=None)
        Attempt.objects.filter(late, run__in=run_ids, number=F("run__attempt")).update(silent_since=Now())
        for run_id in run_ids:
            doorbell.announce(run_id, ["state"])
    return run_ids


def ring_for_waiting() -> None:
    """Rings once for each kind of device that a queued run waits for: doorbells get lost, rows don't."""
    for kind in Run.objects.filter(state=State.QUEUED, deleted_at=None).order_by().values_list("device_kind", flat=True).distinct():
        doorbell.ring(kind)


def something_waits(device_kind: doorbell.DeviceKind) -> bool:
    """Whether a queued run would take a device of this kind."""
    return Run.objects.filter(state=State.QUEUED, deleted_at=None, device_kind__in=[device_kind, "any"]).exists()


# ---- within ----------------------------------------------------------------------------------------------------------------------


@contextmanager
def _locked(run_id: UUID) -> Iterator[Run]:
    """A transaction that has the run's row to itself. NO KEY: log lines and points that refer to the run don't wait."""
    with transaction.atomic():
        yield Run.objects.select_for_update(no_key=True).get(pk=run_id)


@contextmanager
def _held(token: Token) -> Iterator[Run]:
    """A transaction that has the run's row to itself, for the worker that holds it. Raises LeaseLost."""
    with transaction.atomic():
        run = Run.objects.select_for_update(no_key=True).filter(pk=token.run_id, attempt=token.attempt, state__in=HELD).first()
        if run is None:
            raise LeaseLost(_lost(token))
        yield run


_NOW = {
    State.DRAFT: "is a draft",
    State.QUEUED: "is queued",
    State.STARTING: "is starting",
    State.RUNNING: "is running",
    State.SUCCEEDED: "has already succeeded",
    State.FAILED: "has already failed",
    State.STOPPED: "is already stopped",
}


def _require(run: Run, after: State, deed: str, *, only_from: set[State] | None = None) -> None:
    before = State(run.state)
    if after not in ALLOWED[before] or (only_from is not None and before not in only_from):
        raise NotAllowed(f"The run {_NOW[before]}, so it can't {deed}.")


def _move(run: Run, after: State, who: User | str, reason: str, **changes: Any) -> State:
    """The one place where a state changes. `run` is locked."""
    before = State(run.state)
    if after not in ALLOWED[before]:
        raise NotAllowed(f"A run can't go from {before} to {after}.")
    ended = {"finished_at": Now(), "stop_requested_at": None} if after in ENDED else {}
    Run.objects.filter(pk=run.pk).update(state=after, reason=reason, **ended, **changes)
    HistoryLine.objects.create(run_id=run.pk, who=_name(who), before=before, after=after, reason=reason)
    run.state = after
    doorbell.announce(run.pk, ["state"])
    return after


def _enqueue(run: Run, who: User | str, reason: str, *, keep_place: bool = False) -> Run:
    """→ queued, and rings. `keep_place`: it waits since it first waited, because it was not the run's fault."""
    place = {} if keep_place else {"queued_at": Now()}
    _move(run, State.QUEUED, who, reason, finished_at=None, stop_requested_at=None, stop_requested_by=None, **place)
    doorbell.ring(run.device_kind)
    return Run.objects.get(pk=run.pk)


def _again_or_end(run: Run, who: str, reason: str) -> State:
    """After an attempt without an answer."""
    if run.stop_requested_at is not None:
        return _move(run, State.STOPPED, who, f"A stop had been asked for. {reason}")
    if _tries_without_progress(run) >= TRIES_WITHOUT_PROGRESS:
        where = f"step {run.checkpoint_step}" if run.checkpoint_step else "the start"
        return _move(
            run,
            State.FAILED,
            who,
            f"{TRIES_WITHOUT_PROGRESS} attempts in a row ended before a checkpoint after {where}. The last one: {reason}",
        )
    return State(_enqueue(run, who, reason, keep_place=True).state)


def _tries_without_progress(run: Run) -> int:
    """How many of the newest attempts, since a person last said go, died where the run still is."""
    said_go = (
        HistoryLine.objects.filter(run=run, after=State.QUEUED, before__in=[State.DRAFT, *ENDED])
        .order_by("-id")
        .values_list("at", flat=True)
        .first()
    )
    tries = 0
    attempts = Attempt.objects.filter(run=run, **({"started_at__gte": said_go} if said_go else {})).order_by("-number")
    for attempt in attempts[:TRIES_WITHOUT_PROGRESS]:
        if attempt.exit not in ("crashed", "lost") or attempt.from_step != (run.checkpoint_step or 0):
            break
        tries += 1
    return tries


def _end_attempt(token: Token, exit_word: str, reason: str, last_lines: str) -> None:
    lines = last_lines[-LAST_LINES:].replace("\x00", "\N{REPLACEMENT CHARACTER}")
    Attempt.objects.filter(run_id=token.run_id, number=token.attempt).update(
        ended_at=Now(), exit=exit_word, reason=reason, last_lines=lines, silent_since=None
    )


def _current_attempts(seconds: float) -> Any:
    """For Exists() in a query of runs: the run's current attempt, when its last heartbeat is older than that."""
    return Attempt.objects.filter(run=OuterRef("pk"), number=OuterRef("attempt"), ended_at=None, heartbeat_at__lt=_before(seconds))


def _before(seconds: float) -> Any:
    return Now() - timedelta(seconds=seconds)


def _note(run: Run, who: User | str, reason: str) -> None:
    """A line of history that changes no state."""
    HistoryLine.objects.create(run_id=run.pk, who=_name(who), before=run.state, after=run.state, reason=reason)
    doorbell.announce(run.pk, ["state"])


def _worker(token: Token) -> str:
    return Attempt.objects.values_list("worker", flat=True).get(run_id=token.run_id, number=token.attempt)


def _name(who: User | str) -> str:
    return who if isinstance(who, str) else who.get_username()


def _lost(token: Token) -> str:
    return f"attempt {token.attempt} no longer holds run {token.run_id}"
