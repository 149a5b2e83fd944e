"""What beat has a worker do every few seconds: find what was lost, and ring for what waits."""

import logging
import threading

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from webapp.fleet import tally
from webapp.gate import readiness
from webapp.operate.models import note
from webapp.runs import lifecycle

logger = logging.getLogger(__name__)
HEARD = "watchdog"


def look_around() -> None:
    """Two stages of loss: a worker that is late is marked silent, one whose lease has run out loses its run. Then rings for all that waits,
    because a flushed Redis has forgotten its messages. Any number of watchdogs may do this at once."""
    tally.add({tally.LOOKS: 1})
    take_back()
    lifecycle.forgive_where_nobody_else_is_left()
    lifecycle.ring_for_waiting()
    note(HEARD)


def take_back() -> None:
    for run_id in lifecycle.mark_silent():
        logger.warning("The worker of run %s is silent", run_id, extra={"run": run_id})
    for run_id in lifecycle.requeue_expired():
        logger.warning("Run %s was taken from a worker whose lease ran out", run_id, extra={"run": run_id})


def take_back_in_a_thread() -> None:
    """Beat does this by itself: where there is one worker, it is the one that is silent, and nobody would tell the pages or end its lease."""
    threading.Thread(target=_take_back_again_and_again, daemon=True, name="silence").start()


def _take_back_again_and_again() -> None:
    pause = threading.Event()
    while not pause.wait(settings.WATCHDOG_SECONDS):
        try:
            if not readiness.wrong_version():
                take_back()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("The database does not answer (%s); who is silent is asked again.", str(error).strip())
            connection.close()
