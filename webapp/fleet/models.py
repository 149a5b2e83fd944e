"""The workers that there are: what each offers, when it was last heard of, and whether it may take runs now.

A worker process writes its own row (workers/presence.py). The lifecycle of runs counts failures against it (standing.py), and pages ask
why a run waits (waiting.py). Time is the database's, as it is for leases.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import ClassVar, Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class WorkerQuerySet(models.QuerySet["Worker"]):
    """Which workers count is said here alone."""

    def live(self) -> Self:
        """Those that were heard of lately and have not left, each with `is_set_aside`."""
        heard = self.filter(left_at=None, heard_at__gte=Now() - timedelta(seconds=settings.SILENT_SECONDS))
        return heard.annotate(is_set_aside=Q(set_aside_until__gt=Now())).order_by("name", "started_at")

    def lately(self) -> Self:
        """Those that have not left and were heard of within the hour, each with `is_silent` and `is_set_aside`."""
        heard = self.filter(left_at=None, heard_at__gte=Now() - timedelta(hours=1))
        late = Q(heard_at__lt=Now() - timedelta(seconds=settings.SILENT_SECONDS))
        return heard.annotate(is_silent=late, is_set_aside=Q(set_aside_until__gt=Now())).order_by("name", "started_at")

    def claiming(self) -> Self:
        """Those that may take runs: they share the store and are not set aside."""
        return self.not_set_aside().filter(store_problem="")

    def not_set_aside(self) -> Self:
        return self.filter(Q(set_aside_until=None) | Q(set_aside_until__lte=Now()))


class Worker(models.Model):
    """One worker process, from its start to its end. Another start of the same worker is another row; rows of the dead are deleted after a week.

    Whether it lives is not a field but `heard_at`: see `WorkerQuerySet.live`. What a run of it does is in `attempts`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, help_text="Made anew at each start of the process.")
    name = models.CharField(
        max_length=200, help_text="`host:pid`: how attempts, history and log name it. Two containers may have the same."
    )
    host = models.CharField(max_length=200)
    version = models.CharField(max_length=60, blank=True, help_text="Of Stillhouse.")
    started_at = models.DateTimeField(db_default=Now())
    heard_at = models.DateTimeField(db_default=Now(), help_text="Its last heartbeat, every HEARTBEAT_SECONDS.")
    left_at = models.DateTimeField(null=True, blank=True, help_text="It said goodbye; null for one that was killed.")

    cpu_slots = models.PositiveSmallIntegerField(default=0, help_text="Runs on the CPU that it trains at once, busy or free.")
    gpu_count = models.PositiveSmallIntegerField(default=0, help_text="Its GPUs, busy or free: the most that one run of it can have.")
    gpus = models.JSONField(default=list, help_text="A `{uuid, name, memory_bytes, free_bytes}` for each of them; free as last told.")
    memory_bytes = models.BigIntegerField(default=0, help_text="Main memory of its host.")
    free_memory_bytes = models.BigIntegerField(default=0, help_text="Of it, what could be had without swapping, as last told.")
    run_memory_bytes = models.BigIntegerField(default=0, help_text="Of its host's memory, what one run may have.")
    store_bytes = models.BigIntegerField(default=0, db_default=0, help_text="Size of the store's file system; 0 until it is known.")
    store_free_bytes = models.BigIntegerField(default=0, db_default=0, help_text="Of it, what could be written, as last told.")
    model_roots = ArrayField(models.TextField(), default=list, help_text="STILLHOUSE_MODEL_ROOTS: folders of which it opens `hf:` models.")
    hub_models = ArrayField(models.TextField(), default=list, help_text="STILLHOUSE_HUB_MODELS: patterns of hub names that it opens.")

    store_problem = models.TextField(
        blank=True,
        default="it has not yet shown that it shares the store",
        help_text="Why it does not take runs, after `but`; empty when all is well.",
    )
    failed_runs = ArrayField(
        models.UUIDField(), default=list, help_text="Runs that failed here before their first step since one last made a step, each once."
    )
    set_aside_until = models.DateTimeField(null=True, blank=True, help_text="It takes no runs until then.")
    times_set_aside = models.PositiveSmallIntegerField(default=0, help_text="In a row: each time is twice as long as the one before.")
    set_aside_reason = models.TextField(blank=True, help_text="The last of the failures that set it aside.")

    is_set_aside: bool | None = None
    """By the database's clock; only on rows of `live` and `lately`."""
    is_silent: bool | None = None
    """By the database's clock; only on rows of `lately`."""

    objects: ClassVar = WorkerQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["name", "started_at"]  # no index on what each heartbeat changes: there are few rows

    def __str__(self) -> str:
        return self.name

    def fits(self, kind: str, count: int) -> bool:
        """Whether it has the devices that a run asks for, busy or free. `kind` is cpu, cuda or any."""
        on_gpus = kind in ("cuda", "any") and self.gpu_count >= count
        return on_gpus or (kind in ("cpu", "any") and self.cpu_slots > 0 and count <= 1)

    def memory_for_a_run(self, kind: str) -> int:
        """Bytes that a run of this device kind may have there at most: of one GPU, or of main memory; of the larger for `any`."""
        on_gpu = max((int(gpu["memory_bytes"]) for gpu in self.gpus), default=0) if kind in ("cuda", "any") else 0
        return max(on_gpu, self.run_memory_bytes if kind in ("cpu", "any") else 0)

    @property
    def may_claim(self) -> bool:
        """For a row of `live`: whether it takes runs now."""
        return not self.is_set_aside and not self.store_problem


class StoreMarker(models.Model):
    """The text that the store's marker file must hold, in the one row that there is. See store.py."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    text = models.CharField(max_length=64)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [models.CheckConstraint(condition=Q(id=1), name="one_store")]

    def __str__(self) -> str:
        return self.text


class Tally(models.Model):
    """A count that only grows. See tally.py, which alone writes it."""

    name = models.CharField(max_length=60, primary_key=True)
    value = models.FloatField()

    def __str__(self) -> str:
        return f"{self.name}: {self.value:g}"
