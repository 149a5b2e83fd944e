"""This worker process in the fleet: its row, its heartbeat, and whether it may take runs.

Two threads. One writes the row, one UPDATE a heartbeat. The other tries the store and asks for free memory, both of which may take long or for
ever; what it found last is what is written.
"""

import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.db.models.functions import Now

from engine.models.foreign import HUB, ROOTS
from webapp.fleet import store, tally
from webapp.fleet.models import Worker
from webapp.operate.version import version
from webapp.runs import doorbell
from workers.devices import Pool, list_gpus
from workers.sink import LAGS

logger = logging.getLogger(__name__)

WELL_SECONDS, UNWELL_SECONDS = 30.0, 5.0
"""How often the store is tried: while it works, and while it does not."""

FIRST_ANSWER, HANGS_AFTER = 5.0, 60.0
FORGOTTEN_AFTER = timedelta(days=7)


class Presence:
    """One process's row. Until `start` it is nobody, and takes no runs."""

    def __init__(self, name: str, pool: Pool, *, well_seconds: float = WELL_SECONDS, unwell_seconds: float = UNWELL_SECONDS) -> None:
        self.id = uuid4()
        self._well_seconds, self._unwell_seconds = well_seconds, unwell_seconds
        self._name, self._pool = name, pool
        self._done, self._surveyed = threading.Event(), threading.Event()
        self._facts: dict[str, Any] = {}
        self._marker = ""
        self._problem: str | None = None
        self._tried = time.monotonic()
        self._written = False

    def start(self) -> None:
        """Tries the store, writes the row, and goes on doing so. Waits a moment for what the store says: most answer at once."""
        self._begin("survey", self._survey, self._until_next_survey)
        self._surveyed.wait(FIRST_ANSWER)
        self._begin("heartbeat", self._beat, lambda: settings.HEARTBEAT_SECONDS)

    def may_claim(self) -> bool:
        """Whether the store is there at this moment. Whether the worker is set aside, the claim asks the database."""
        return self._written and not self.problem and store.holds(Path(settings.STORE), self._marker)

    @property
    def problem(self) -> str:
        """Why the store can't be used, after `but`; empty when it can."""
        if time.monotonic() - self._tried > HANGS_AFTER + self._well_seconds:
            return f"its store has not answered for {time.monotonic() - self._tried:.0f} s"
        return "it has not yet looked for its store" if self._problem is None else self._problem

    def leave(self) -> None:
        """The last that is heard of it."""
        self._done.set()
        try:
            Worker.objects.filter(pk=self.id).update(left_at=Now())
        except (DatabaseError, InterfaceError) as error:
            logger.warning("This worker could not say goodbye: %s", str(error).strip())

    def _begin(self, name: str, work: Callable[[], None], seconds: Callable[[], float]) -> None:
        def again_and_again() -> None:
            try:
                work()
                while not self._done.wait(seconds()):
                    work()
            finally:
                connection.close()

        threading.Thread(target=again_and_again, daemon=True, name=f"presence-{name}").start()

    def _until_next_survey(self) -> float:
        return self._unwell_seconds if self.problem else self._well_seconds

    def _survey(self) -> None:
        """Free memory, then the store: the latter may hang."""
        try:
            self._facts = self._facts | _free_memory(self._pool)
            problem = store.problem_of(Path(settings.STORE), self.id)
            self._marker = store.known() or ""
            self._facts = self._facts | ({} if problem else _room_of(Path(settings.STORE)))
        except (DatabaseError, InterfaceError) as error:
            connection.close()
            logger.warning("The database does not answer (%s); what it knows of the store is asked again.", str(error).strip())
            return
        self._tried = time.monotonic()
        if problem != (self._problem or ""):
            if problem:
                logger.warning("This worker takes no runs: %s (%s). It tries again every few seconds.", problem, settings.STORE)
            else:
                logger.info("The store %s works; this worker takes runs.", settings.STORE)
        self._problem = problem
        self._surveyed.set()

    def _beat(self) -> None:
        try:
            _tell_lags()
            # Nobody rang while no run could be taken, or rang in vain.
            if self._write() and not self.problem:
                for kind in self._pool.kinds:
                    doorbell.ring(kind)
        except (DatabaseError, InterfaceError) as error:
            connection.close()
            logger.warning("No heartbeat of this worker: %s", str(error).strip())

    def _write(self) -> bool:
        """Returns whether the worker takes runs since now."""
        now = {"heard_at": Now(), "store_problem": self.problem, **self._facts}
        known = Worker.objects.filter(pk=self.id, store_problem=now["store_problem"]).update(**now)
        if known:
            self._written = True
            return False
        # Its first heartbeat, another state of the store, or a row that somebody has deleted.
        Worker.objects.update_or_create(pk=self.id, defaults=now, create_defaults={**now, **_about(self._name, self._pool)})
        Worker.objects.filter(heard_at__lt=Now() - FORGOTTEN_AFTER).delete()
        self._written = True
        return True


def _about(name: str, pool: Pool) -> dict[str, Any]:
    """What stays the same for as long as the process lives."""
    return {
        "name": name,
        "host": socket.gethostname(),
        "version": version(),
        "cpu_slots": pool.cpu_slots,
        "gpu_count": len(pool.gpus),
        "run_memory_bytes": pool.run_memory,
        "model_roots": [folder for folder in os.environ.get(ROOTS, "").split(os.pathsep) if folder],
        "hub_models": [pattern.strip() for pattern in os.environ.get(HUB, "").split(",") if pattern.strip()],
    }


def _free_memory(pool: Pool) -> dict[str, Any]:
    """Of the machine and of the worker's GPUs."""
    memory, own = psutil.virtual_memory(), {gpu.uuid for gpu in pool.gpus}
    gpus = [
        {"uuid": gpu.uuid, "name": gpu.name, "memory_bytes": gpu.memory_bytes, "free_bytes": gpu.free_bytes}
        for gpu in (list_gpus() if own else ())
        if gpu.uuid in own
    ]
    return {"memory_bytes": memory.total, "free_memory_bytes": memory.available, "gpus": gpus}


def _room_of(folder: Path) -> dict[str, Any]:
    with suppress(OSError):
        found = shutil.disk_usage(folder)
        return {"store_bytes": found.total, "store_free_bytes": found.free}
    return {}


def _tell_lags() -> None:
    """What this worker's runs have measured since the last heartbeat."""
    new = LAGS.take()
    if not new:
        return
    try:
        tally.add(new)
    except (DatabaseError, InterfaceError):
        LAGS.give_back(new)
        raise
