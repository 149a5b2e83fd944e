"""What a worker does with a run that it has claimed: hold it by its token, write within the fence, settle it.

A worker holds a run by its attempt's number, the token. Every write of a worker begins its transaction with the run's row, `WHERE id AND
attempt = token AND held`, locked FOR SHARE: no row, no write (LeaseLost). A take-over changes that row, so it waits for a write in flight
and none can follow it. The heartbeat is on the attempt's row, which no other write touches. Time is the database's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import connection, transaction
from django.db.models import DurationField, F, QuerySet, Sum
from django.db.models.functions import Coalesce, Now

from webapp.fleet import tally
from webapp.runs import doorbell, lineage
from webapp.runs.history import headline, points
from webapp.runs.lifecycle import elsewhere
from webapp.runs.lifecycle.states import enqueue, move
from webapp.runs.models import ENDED, HELD, Attempt, Evaluation, HistoryLine, LogLine, Run, State
from webapp.store import run_folder

if TYPE_CHECKING:
    from engine.events import Outcome

TRIES_WITHOUT_PROGRESS = 3
"""So many attempts in a row may end without a new checkpoint and without an outcome before the run is given up."""

LAST_LINES = 20_000
"""Characters of a child's output that are kept on its attempt."""


@dataclass(frozen=True)
class Token:
    """What a worker shows before it writes."""

    run_id: UUID
    attempt: int


class LeaseLost(Exception):
    """This worker no longer holds the run. It kills the child and writes nothing more."""

    def __init__(self, token: Token) -> None:
        super().__init__(f"attempt {token.attempt} no longer holds run {token.run_id}")


@dataclass(frozen=True)
class Orders:
    """What a worker learns with each heartbeat."""

    stop: bool


def attempt_folder(run_id: UUID, attempt: int) -> str:
    """The folder of one attempt, relative to the store. No two attempts share one, so a late writer spoils nothing."""
    return f"{run_folder(run_id)}/attempt-{attempt}"


def started(token: Token, *, pid: int, device: str) -> None:
    """starting → running: the child is there. What history holds beyond the attempt's first step is cut off, in the same transaction."""
    with _held(token) as run:
        attempt = Attempt.objects.get(run=run, number=token.attempt)
        if token.attempt > 1:
            points.cut(run.pk, after=attempt.from_step, attempt=token.attempt)
            Evaluation.objects.filter(run=run, step__gt=attempt.from_step).delete()
            headline.refresh(run.pk)
        Attempt.objects.filter(pk=attempt.pk).update(pid=pid, device=device[:200])  # last: a heartbeat waits for it
        Run.objects.filter(pk=run.pk).update(started_at=Coalesce(F("started_at"), Now()), step=attempt.from_step)
        move(
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
            raise LeaseLost(token)
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
                raise LeaseLost(token)
        yield


def checkpointed(token: Token, step: int, path: str, *, size: int = 0) -> None:
    """The run can go on from here: `path`, relative to the store, is durable, of `size` bytes, and all points up to `step` are written."""
    with fenced(token):
        Run.objects.filter(pk=token.run_id).update(checkpoint_step=step, checkpoint_path=path, checkpoint_bytes=size)


def stalled(token: Token, sentence: str) -> None:
    """The child stands still, says its supervisor. Shown until `moves`."""
    with fenced(token):
        Attempt.objects.filter(run_id=token.run_id, number=token.attempt).update(stalled_since=Now(), stall=sentence)
        LogLine.objects.create(run_id=token.run_id, attempt=token.attempt, level="warning", text=sentence)
        doorbell.announce(token.run_id, ["state", "log"])


def moves(token: Token, sentence: str) -> None:
    """A child that stood still goes on."""
    with fenced(token):
        Attempt.objects.filter(run_id=token.run_id, number=token.attempt).update(stalled_since=None, stall="")
        LogLine.objects.create(run_id=token.run_id, attempt=token.attempt, level="info", text=sentence)
        doorbell.announce(token.run_id, ["state", "log"])


def give_back(token: Token, why: str) -> State:
    """→ queued, untouched: this worker can't go on with the run, another may. It is no try of the run. `why` follows the worker's name.
    Returns the new state."""
    with _held(token) as run:
        reason = f"{worker_of(token)} {why}"
        attempt = _end_attempt(token, elsewhere.RETURNED, reason, "")
        if run.stop_requested_at is not None:
            return move(run, State.STOPPED, attempt.worker, f"A stop had been asked for. {reason}")
        Attempt.objects.filter(pk=attempt.pk).update(not_again=True)
        return State(enqueue(run, attempt.worker, reason, keep_place=True).state)


def settle(token: Token, outcome: "Outcome", last_lines: str = "", *, time_is_up: bool = False) -> State:
    """running → succeeded, failed or stopped, as the engine said; a success leaves a ModelRecord. Returns the new state.

    A run that stopped though nobody asked for it had used up its time, or was interrupted by its worker's shutdown: then it goes back into the queue.
    """
    with _held(token) as run:
        attempt = _end_attempt(token, outcome.status, outcome.reason, last_lines)
        if outcome.status != "failed":
            Run.objects.filter(pk=run.pk).update(step=outcome.step)
            run.step = outcome.step
        well = elsewhere.made_a_step(run, attempt)
        if outcome.status == "succeeded":
            lineage.record_student(run)
            return move(run, State.SUCCEEDED, attempt.worker, outcome.reason)
        if outcome.status == "failed":
            return _failed(run, attempt, outcome, well=well)
        if run.stop_requested_at is not None:
            return move(run, State.STOPPED, attempt.worker, outcome.reason)
        if time_is_up:
            return move(run, State.STOPPED, attempt.worker, out_of_time(run, f"at step {outcome.step}"))
        return State(enqueue(run, attempt.worker, "Its worker is shutting down.", keep_place=True).state)


def _failed(run: Run, attempt: Attempt, outcome: "Outcome", *, well: bool) -> State:
    """→ failed; but where the machine was at fault before the first step and another would take the run, → queued for that one."""
    Run.objects.filter(pk=run.pk).update(step=outcome.step)
    if outcome.needed and elsewhere.needs_more_memory(run, attempt, outcome.needed):
        return State(enqueue(run, attempt.worker, f"{outcome.reason} It waits for a worker that has as much.", keep_place=True).state)
    another = outcome.machine and not well and elsewhere.failed_early(run, attempt, outcome.reason)
    if another and run.stop_requested_at is None and _tries_without_progress(run) < TRIES_WITHOUT_PROGRESS:
        return State(enqueue(run, attempt.worker, f"{outcome.reason} It is tried on another worker.").state)
    return move(run, State.FAILED, attempt.worker, outcome.reason)


def crashed(token: Token, reason: str, last_lines: str = "") -> State:
    """The child died without reporting an outcome. The run is queued again, from its last checkpoint, unless it keeps dying there. Returns the new state."""
    with _held(token) as run:
        attempt = _end_attempt(token, "crashed", reason, last_lines)
        early = not elsewhere.made_a_step(run, attempt)
        if early:
            elsewhere.failed_early(run, attempt, reason)
        # Back to the end of the queue where the worker may be at fault: else it would fail the same run three times before the next.
        return again_or_end(run, attempt.worker, reason, keep_place=not early or attempt.by_id is None)


def again_or_end(run: Run, who: str, reason: str, *, keep_place: bool = True) -> State:
    """What becomes of a run after an attempt that reported no outcome."""
    if run.stop_requested_at is not None:
        return move(run, State.STOPPED, who, f"A stop had been asked for. {reason}")
    if seconds_left(run) == 0:
        return move(run, State.STOPPED, who, out_of_time(run, "and did not stop by itself"))
    if _tries_without_progress(run) >= TRIES_WITHOUT_PROGRESS:
        where = f"step {run.checkpoint_step}" if run.checkpoint_step else "the start"
        return move(
            run,
            State.FAILED,
            who,
            f"{TRIES_WITHOUT_PROGRESS} attempts in a row ended before a checkpoint after {where}. The last one: {reason}",
        )
    return State(enqueue(run, who, reason, keep_place=keep_place).state)


def seconds_left(run: Run) -> float | None:
    """Of the run's time limit, less the time that workers have held it since a person last said go; None without a limit, never below 0."""
    if run.seconds_limit is None:
        return None
    held = Coalesce("ended_at", Now()) - F("started_at")
    used = _attempts_since_go(run).aggregate(used=Sum(held, output_field=DurationField()))["used"]
    return max(0.0, run.seconds_limit - (used.total_seconds() if used else 0.0))


def out_of_time(run: Run, where: str) -> str:
    """Why a run was stopped that nobody stopped."""
    return f"Its time limit of {run.seconds_limit} s was over {where}; resume it, and it has as long again."


def _attempts_since_go(run: Run) -> QuerySet[Attempt]:
    """Those since a person last launched or resumed the run."""
    said_go = (
        HistoryLine.objects.filter(run=run, after=State.QUEUED, before__in=[State.DRAFT, *ENDED])
        .order_by("-id")
        .values_list("at", flat=True)
        .first()
    )
    return Attempt.objects.filter(run=run, **({"started_at__gte": said_go} if said_go else {}))


def _tries_without_progress(run: Run) -> int:
    """How many of the newest attempts, since a person last said go, died where the run still is."""
    tries = 0
    attempts = _attempts_since_go(run).exclude(exit=elsewhere.RETURNED)
    for attempt in attempts.order_by("-number")[:TRIES_WITHOUT_PROGRESS]:
        without_outcome = attempt.exit in ("crashed", "lost") or (attempt.exit == "failed" and attempt.not_again)
        if not without_outcome or attempt.from_step != (run.checkpoint_step or 0):
            break
        tries += 1
    return tries


def _end_attempt(token: Token, exit_word: str, reason: str, last_lines: str) -> Attempt:
    """The attempt, ended."""
    lines = last_lines[-LAST_LINES:].replace("\x00", "\N{REPLACEMENT CHARACTER}")
    Attempt.objects.filter(run_id=token.run_id, number=token.attempt).update(
        ended_at=Now(), exit=exit_word, reason=reason, last_lines=lines, silent_since=None, stalled_since=None
    )
    tally.add({tally.ATTEMPTS + exit_word: 1})
    return Attempt.objects.get(run_id=token.run_id, number=token.attempt)


@contextmanager
def _held(token: Token) -> Iterator[Run]:
    """A transaction that has the run's row to itself, for the worker that holds it. Raises LeaseLost."""
    with transaction.atomic():
        run = Run.objects.select_for_update(no_key=True).filter(pk=token.run_id, attempt=token.attempt, state__in=HELD).first()
        if run is None:
            raise LeaseLost(token)
        yield run


def worker_of(token: Token) -> str:
    """The name of the worker that made the attempt."""
    return Attempt.objects.values_list("worker", flat=True).get(run_id=token.run_id, number=token.attempt)
