"""Celery's jobs: the doorbell, which claims runs while something fits, the watchdog, and retention."""

import os
import socket
import threading
from typing import Any

from celery.signals import worker_init, worker_ready, worker_shutdown, worker_shutting_down

from webapp import logs
from webapp.gate import readiness
from webapp.operate import retention
from webapp.runs import doorbell, lifecycle
from workers import launcher, supervisor, watchdog
from workers.app import RETENTION, WATCHDOG, app
from workers.devices import POOL
from workers.presence import Presence

WORKER = f"{socket.gethostname()}:{os.getpid()}"
"""How this worker signs: attempts and history name it."""

PASS_ON = 16
"""How many full workers may pass a ring on before it is left to the watchdog's next one."""

RETENTION_SECONDS = 30.0
"""How long one look of retention may remove things."""

_leaving = threading.Event()
_presence = Presence(WORKER, POOL)


@app.task(name=doorbell.DOORBELL)
def answer_the_doorbell(device_kind: doorbell.DeviceKind, passed_on: int = 0) -> None:
    """Claims and runs the best run that fits this worker, and then the next, until nothing fits.

    The message names no run: whichever waits longest is the right one, and a message that comes twice finds nothing. Redis hands a message
    to one worker, which may be full while another is idle: then it rings again, and Redis serves whoever has listened longest. Where no other
    has room it does not: whoever gets room looks for more by itself.
    """
    while not _leaving.is_set() and not readiness.wrong_version() and _presence.may_claim():  # each says in the log why not
        with POOL.choosing() as free:
            claim = lifecycle.claim_next(worker=WORKER, kinds=POOL.kinds, free=free, by=_presence.id)
            if claim is None:
                break
            share = POOL.take(claim.device_kind, claim.device_count)
        try:
            if POOL.has_room():
                doorbell.ring(device_kind)  # there may be more, and another thread or worker for it
            with logs.about(claim.run_id, claim.attempt):
                supervisor.tend(claim, share, leaving=_leaving)
        finally:
            POOL.give_back(share)
    if passed_on < PASS_ON and device_kind in lifecycle.worth_ringing(besides=[_presence.id]):
        doorbell.ring(device_kind, passed_on=passed_on + 1)


@app.task(name=WATCHDOG)
def keep_watch() -> None:
    """See watchdog.py. A database of another version is left to the workers of that version."""
    if not readiness.wrong_version():
        watchdog.look_around()


@app.task(name=RETENTION)
def remove_what_is_no_longer_kept() -> None:
    """See webapp/operate/retention.py. For a while only: what is left is found again, and the thread is the watchdog's too."""
    if readiness.wrong_version():
        return
    for _ in retention.sweep(seconds=RETENTION_SECONDS):
        if _leaving.is_set():
            return


@worker_init.connect
def _begin(**_: Any) -> None:
    readiness.wrong_version()  # said in the log at once, not with the first run
    _presence.start()
    launcher.warm()


@worker_ready.connect
def _look_for_work(**_: Any) -> None:
    """What waits may be for this worker alone, and nobody rings for it now."""
    for kind in POOL.kinds:
        doorbell.ring(kind)


@worker_shutting_down.connect
def _leave(**_: Any) -> None:
    """A warm shutdown (SIGTERM): runs are stopped with a checkpoint and go back into the queue, each by its own heartbeat."""
    _leaving.set()


@worker_shutdown.connect
def _say_goodbye(**_: Any) -> None:
    _presence.leave()
