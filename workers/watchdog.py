"""What beat has a worker do every few seconds: find what was lost, and ring for what waits."""

import logging

from webapp.operate.models import note
from webapp.runs import lifecycle

logger = logging.getLogger(__name__)
HEARD = "watchdog"


def look_around() -> None:
    """Two stages of loss: a worker that is late is marked silent, one whose lease has run out loses its run. Then rings for all that waits,
    because a flushed Redis has forgotten its messages. Any number of watchdogs may do this at once."""
    for run_id in lifecycle.mark_silent():
        logger.warning("The worker of run %s is silent", run_id)
    for run_id in lifecycle.requeue_expired():
        logger.warning("Run %s was taken from a worker whose lease ran out", run_id)
    lifecycle.ring_for_waiting()
    note(HEARD)
