"""One run from its claim to its end: launch the child, carry its events to the database, settle.

Two threads a run. This one reads the child's messages and writes them. The other one, the heartbeat, renews the lease and brings orders back,
so that a slow write does not cost the lease. When the lease is lost, the child is killed and nothing more is written.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from engine.events import Outcome
from engine.models.foreign import policy_of_workers
from webapp import logs
from webapp.fleet import store
from webapp.runs import lifecycle
from webapp.runs.lifecycle import ClaimedRun, LeaseLost
from webapp.runs.templatetags.shown import duration
from webapp.store import path_in_store
from workers.bounds import Bounds
from workers.devices import Share
from workers.launcher import Child, Order
from workers.sink import Sink
from workers.stall import Limits, Watch

logger = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0

CHECKPOINT_LOOKS = 5
"""How often a checkpoint is looked for, a second apart: a network file system may show it late."""

NO_CHECKPOINT = "does not find its checkpoint of step {step}; the run waits for a worker that does. If it is lost, stop the run and retry it from the start."
"""What follows the worker's name where it is."""

LEAVING_SECONDS = 5.0
"""How long a worker that is to end waits for a database that is away."""

DEATH_SECONDS = 10.0
"""A killed child that is still there after so long is waited for no more."""


def tend(claim: ClaimedRun, share: Share, *, leaving: threading.Event) -> None:
    """Runs a claimed run. `leaving`: this worker is shutting down; the run is stopped, with a checkpoint, and goes back into the queue.

    Never raises: whatever happens is written down as the attempt's end, or, without the lease, into the worker's own log.
    """
    child: Child | None = None
    bounds = Bounds(seconds=claim.seconds_left, memory=share.memory)
    heartbeat = Heartbeat(claim, leaving, bounds)
    heartbeat.start()
    try:
        if not _finds_its_checkpoint(claim):
            logger.warning("Run %s is given back: its checkpoint is not at %s", claim.run_id, claim.resume_path)
            _persist(partial(lifecycle.give_back, claim.token, NO_CHECKPOINT.format(step=claim.from_step)), heartbeat)
            return
        share = replace(share, threads=claim.spec.get("threads") or share.threads)
        store.make_folder(Path(settings.STORE), claim.folder, _persist(store.known, heartbeat))
        child = _launch(claim, share)
        heartbeat.protect(child)
        _persist(partial(lifecycle.started, claim.token, pid=child.pid, device=share.name), heartbeat)
        sink = Sink(claim)
        ended_for = _carry(child, sink, heartbeat, claim)
        code = child.end()
        bounds.release()
        _settle(claim, sink, child, ended_for or _cause(code), heartbeat, bounds)
    except LeaseLost as error:
        logger.warning("%s: its child is killed, nothing more is written.", error)
    except Exception as error:
        logger.exception("Run %s could not be carried on", claim.run_id)
        _report_crash(claim, f"Its worker could not carry it on: {error}", child.last_lines() if child else "")
    finally:
        if child is not None:
            child.kill()
            child.end()
        heartbeat.stop()


def _launch(claim: ClaimedRun, share: Share) -> Child:
    folder = path_in_store(claim.folder)
    return Child(
        Order(
            spec=claim.spec,
            workdir=str(folder),
            output=str(folder / "output.log"),
            resume=str(path_in_store(claim.resume_path)) if claim.resume_path else None,
            from_step=claim.from_step,
            models={reference: str(path_in_store(path)) for reference, path in claim.models.items()},
            environment={
                "STILLHOUSE_BUFFERS": os.environ.get("STILLHOUSE_BUFFERS", str(path_in_store("buffers"))),
                **policy_of_workers(os.environ),
                **share.environment,
            },
            threads=share.threads,
            devices=claim.device_count,
            room=share.room or None,
            data_limit=share.memory if share.kind == "cpu" else None,
        )
    )


def _finds_its_checkpoint(claim: ClaimedRun) -> bool:
    """Whether there is something to go on from, or the run begins."""
    if claim.resume_path is None:
        return True
    for look in range(CHECKPOINT_LOOKS):
        if look:
            time.sleep(1.0)
        if path_in_store(claim.resume_path).is_dir():
            return True
    return False


def _carry(child: Child, sink: Sink, heartbeat: "Heartbeat", claim: ClaimedRun) -> str:
    """Messages → rows until the child has ended. Returns why it was ended, where this worker did it because it stood still."""
    limits = Limits(settings.STALL_SECONDS, settings.STALL_STEPS, settings.STALL_PATIENCE)
    watch, ended_for, given_up = Watch(limits, clock=time.monotonic, used=child.processor_seconds), "", 0.0
    with suppress(EOFError):
        while True:
            message = child.receive(within=sink.seconds_until_due())
            if message is not None:
                sink.add(message)
                still = watch.hear(message.events, metrics=bool(message.blocks))
                if watch.stalled:
                    _note_that_it_moves(watch, still, claim, heartbeat)
            elif not ended_for:
                ended_for = _look_whether_it_stands_still(watch, child, claim, heartbeat)
                given_up = time.monotonic() + DEATH_SECONDS
            elif time.monotonic() > given_up:
                break  # it waits within the kernel, for a disk that is gone, and can't even die
            if sink.is_due():
                _persist(sink.flush, heartbeat)
                watch.pause()
            heartbeat.check()
    _persist(lambda: sink.flush(last=True), heartbeat)
    return ended_for


def _look_whether_it_stands_still(watch: Watch, child: Child, claim: ClaimedRun, heartbeat: "Heartbeat") -> str:
    """Reports it once, and ends the child when it has been for too long or when somebody asked it to stop, which it does not hear. Returns why."""
    sentence = watch.look()
    if not sentence:
        return ""
    if watch.is_over or heartbeat.stop_asked:
        logger.warning("Run %s is ended: %s", claim.run_id, sentence)
        child.kill()
        return f"{sentence} Its process was ended."
    if not watch.stalled:
        watch.stalled = True
        logger.warning("Run %s stands still: %s", claim.run_id, sentence)
        _persist(partial(lifecycle.stalled, claim.token, f"{sentence} Its process is ended after {watch.ends_after}."), heartbeat)
        watch.pause()
    return ""


def _note_that_it_moves(watch: Watch, still: float, claim: ClaimedRun, heartbeat: "Heartbeat") -> None:
    watch.stalled = False
    _persist(partial(lifecycle.moves, claim.token, f"Moves again after {duration(still)}."), heartbeat)
    watch.pause()


def _settle(claim: ClaimedRun, sink: Sink, child: Child, cause: str, heartbeat: "Heartbeat", bounds: Bounds) -> None:
    """Says how the attempt ended: as the engine said, or that the child died without an outcome, of a `cause`."""
    last_lines = child.last_lines()
    outcome = sink.outcome
    if outcome is None and bounds.memory_was_full:  # and it would be again
        outcome = Outcome("failed", sink.last_step, bounds.memory_was_full)
    if outcome is not None and outcome.status == "failed" and child.lost_a_follower:
        _persist(lambda: lifecycle.crashed(claim.token, "The process of one of its devices died.", last_lines), heartbeat)
    elif outcome is not None:
        _persist(lambda: lifecycle.settle(claim.token, outcome, last_lines, time_is_up=bounds.time_is_up), heartbeat)
    else:
        _persist(lambda: lifecycle.crashed(claim.token, cause, last_lines), heartbeat)


def _report_crash(claim: ClaimedRun, reason: str, last_lines: str) -> None:
    with suppress(LeaseLost, DatabaseError):  # then the watchdog does it, when the lease runs out
        lifecycle.crashed(claim.token, reason[:2000], last_lines)


def _persist(write: Callable[[], T], heartbeat: "Heartbeat") -> T:
    """Does a transaction, again and again while the database is away. Meanwhile the child's messages wait in the pipe, and then its training.

    A worker that is to end waits for LEAVING_SECONDS: then its run is left to whoever finds that its lease has run out.
    """
    wait, began = FIRST_WAIT, time.monotonic()
    while True:
        try:
            return write()
        except (OperationalError, InterfaceError) as error:
            if heartbeat.is_leaving and time.monotonic() - began > LEAVING_SECONDS:
                raise
            logger.warning("The database does not answer (%s); trying again in %.1f s.", str(error).strip(), wait)
            connection.close()
        heartbeat.check()
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


def _cause(code: int) -> str:
    """Why a child that said nothing ended."""
    if code == -signal.SIGKILL:
        return "Its process was killed (SIGKILL); often that means that memory ran out."
    if code < 0:
        return f"Its process died of {signal.Signals(-code).name}."
    return f"Its process ended with code {code} and without an answer."


class Heartbeat(threading.Thread):
    """Renews the lease, and brings stop requests to the child. Kills the child when the lease is lost."""

    def __init__(self, claim: ClaimedRun, leaving: threading.Event, bounds: Bounds) -> None:
        super().__init__(daemon=True, name=f"heartbeat-{claim.run_id}")
        self._token, self._leaving, self._bounds = claim.token, leaving, bounds
        self._child: Child | None = None
        self.stop_asked = False
        self._done, self._lost = threading.Event(), threading.Event()

    def protect(self, child: Child) -> None:
        """From now on the child gets the orders, and dies with the lease."""
        self._child = child
        self._bounds.hold(child)
        self.check()

    @property
    def is_leaving(self) -> bool:
        """Whether the worker is to end."""
        return self._leaving.is_set()

    def check(self) -> None:
        """Raises LeaseLost when it is lost."""
        if self._lost.is_set():
            raise LeaseLost(self._token)

    def stop(self) -> None:
        self._done.set()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        try:
            with logs.about(self._token.run_id, self._token.attempt):
                while not self._done.wait(settings.HEARTBEAT_SECONDS):
                    self._bounds.enforce()
                    self._beat()
        finally:
            connection.close()

    def _beat(self) -> None:
        try:
            orders = lifecycle.renew(self._token)
        except LeaseLost:
            self._lost.set()
            self._done.set()
            if self._child is not None:
                self._child.kill()
        except DatabaseError as error:
            logger.warning("No heartbeat for run %s: %s", self._token.run_id, str(error).strip())
            connection.close()
        else:
            self.stop_asked = orders.stop or self._leaving.is_set()
            if self._child is not None and self.stop_asked:
                self._child.stop()
