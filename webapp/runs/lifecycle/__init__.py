"""The life of a run: the only package that writes a run's state.

`states.py` has the states as data and the one function that changes them; `people.py`, `workers.py`, `watchdog.py` and `retention.py` have
the verbs of each, `claiming.py` which run a worker gets, `elsewhere.py` which worker may have a run again, `doors.py` where ringing helps. Every verb is one short transaction that writes the new state and a line of
history together.
"""

from webapp.runs.lifecycle.claiming import ClaimedRun, claim_next
from webapp.runs.lifecycle.doors import worth_ringing
from webapp.runs.lifecycle.elsewhere import forgive_where_nobody_else_is_left
from webapp.runs.lifecycle.people import held_for_continuing, request_stop, requeue, restore, set_priority, submit, trash
from webapp.runs.lifecycle.retention import (
    RETENTION,
    begins_another,
    delete_for_good,
    delete_lines,
    forget_checkpoint,
    give_back_all,
    time_is_over,
)
from webapp.runs.lifecycle.states import ALLOWED, NotAllowed
from webapp.runs.lifecycle.watchdog import mark_silent, requeue_expired, ring_for_waiting
from webapp.runs.lifecycle.workers import (
    TRIES_WITHOUT_PROGRESS,
    LeaseLost,
    Orders,
    Token,
    attempt_folder,
    checkpointed,
    crashed,
    fenced,
    give_back,
    moves,
    renew,
    settle,
    stalled,
    started,
)

__all__ = [
    "ALLOWED",
    "RETENTION",
    "TRIES_WITHOUT_PROGRESS",
    "ClaimedRun",
    "LeaseLost",
    "NotAllowed",
    "Orders",
    "Token",
    "attempt_folder",
    "begins_another",
    "checkpointed",
    "claim_next",
    "crashed",
    "delete_for_good",
    "delete_lines",
    "fenced",
    "forget_checkpoint",
    "forgive_where_nobody_else_is_left",
    "give_back",
    "give_back_all",
    "held_for_continuing",
    "mark_silent",
    "moves",
    "renew",
    "request_stop",
    "requeue",
    "requeue_expired",
    "restore",
    "ring_for_waiting",
    "set_priority",
    "settle",
    "stalled",
    "started",
    "submit",
    "time_is_over",
    "trash",
    "worth_ringing",
]
