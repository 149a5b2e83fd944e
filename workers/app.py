"""The Celery application.

    celery -A workers.app worker     runs what this machine's devices can hold
    celery -A workers.app beat       rings for the watchdog; one is enough, two do no harm

Messages are doorbells, acknowledged before they are acted on: what is to be done stands in PostgreSQL. So Redis may deliver twice,
late or never. Jobs run on threads, because each only supervises a child process, and two threads more than there are devices keep the
watchdog's jobs from waiting behind runs.
"""

import os
import signal
from typing import Any

import django
from celery import Celery
from celery.signals import beat_init, setup_logging, worker_init
from kombu import Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.db import connections  # noqa: E402

from webapp import servers, store  # noqa: E402
from workers import watchdog  # noqa: E402
from workers.devices import POOL  # noqa: E402

WATCHDOG_QUEUE = "watchdog"
WATCHDOG = "stillhouse.watchdog"
RETENTION = "stillhouse.retention"
SPARE_THREADS = 2


def _end_transactions_of_sleepers() -> None:
    """A worker that is stopped or cut off in the middle of a transaction keeps its locks, and nobody could take its run: after the lease the
    database ends such a session."""
    options = connections.databases["default"].setdefault("OPTIONS", {})
    limit = f"-c idle_in_transaction_session_timeout={int(1000 * settings.LEASE_SECONDS)}"
    options["options"] = " ".join(filter(None, (options.get("options"), limit)))


_end_transactions_of_sleepers()

app = Celery("stillhouse", broker=settings.CELERY_BROKER_URL, include=["workers.jobs"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={"socket_timeout": 10.0, "socket_connect_timeout": 5.0, "socket_keepalive": True},
    task_acks_late=False,
    task_ignore_result=True,
    task_default_queue=WATCHDOG_QUEUE,
    task_queues=[Queue(name) for name in (*POOL.kinds, WATCHDOG_QUEUE)],
    worker_pool="threads",
    worker_concurrency=POOL.size + SPARE_THREADS,
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    # Beat keeps its plan in memory: the one plan is this, and a file beside it could only be stale.
    beat_scheduler="celery.beat:Scheduler",
    beat_schedule={
        "watchdog": {
            "task": WATCHDOG,
            "schedule": settings.WATCHDOG_SECONDS,
            # Without a worker the messages would pile up; the next one says the same.
            "options": {"queue": WATCHDOG_QUEUE, "expires": 2 * settings.WATCHDOG_SECONDS},
        },
        "retention": {
            "task": RETENTION,
            "schedule": settings.RETAIN_SECONDS,
            "options": {"queue": WATCHDOG_QUEUE, "expires": settings.RETAIN_SECONDS},
        },
    },
)


@setup_logging.connect
def _log_as_the_settings_say(**_: Any) -> None:
    """Django has set it up; that somebody is connected keeps Celery from replacing it. --loglevel says nothing any more."""


@worker_init.connect
@beat_init.connect
def _ensure_servers(**_: Any) -> None:
    """The embedded servers, where no others are named."""
    servers.ensure()


@beat_init.connect
def _look_for_silence(**_: Any) -> None:
    watchdog.take_back_in_a_thread()


@beat_init.connect
def _end_though_nobody_heard(sender: Any, **_: Any) -> None:
    """Celery ends beat by raising SystemExit from the signal's handler. Where the Redis client is connecting just then, its own cleaning up
    replaces that by an error, which beat logs before it goes on. So the service is told too, and ends after its turn."""
    raises = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: Any) -> None:
        sender.stop()
        if callable(raises):
            raises(number, frame)

    signal.signal(signal.SIGTERM, end)


@worker_init.connect
def _close_store(**_: Any) -> None:
    """What runs have made is for this account alone."""
    store.close_to_others()
