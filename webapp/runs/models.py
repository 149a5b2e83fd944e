"""A run and all that it leaves: attempts, history, metrics, evaluations, artifacts, log lines.

Only the package `lifecycle` writes a run's state, and only the sink writes metrics. The state machine itself is data, in `lifecycle/states.py`.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import ClassVar, Self

from django.conf import settings
from django.contrib.postgres.expressions import ArraySubquery
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Case, OuterRef, Q, When
from django.db.models.functions import Coalesce, Now


class State(models.TextChoices):
    DRAFT = "draft"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"


HELD = (State.STARTING, State.RUNNING)
"""A worker holds the run: there is a current attempt with a lease."""

ENDED = (State.SUCCEEDED, State.FAILED, State.STOPPED)

PRIORITIES = range(-100, 101)
"""From last to first in the queue."""


class Run(models.Model):
    """One training of one student. `attempt` is the number of the current or last attempt, and the fencing token of every worker's write."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    project = models.ForeignKey("accounts.Project", on_delete=models.CASCADE, related_name="runs")
    number = models.PositiveIntegerField(help_text="Counts the project's runs from 1 in the order of their launch; also chooses the color.")
    name = models.CharField(max_length=200)
    notes = models.TextField(blank=True, max_length=20_000)
    tags = ArrayField(models.CharField(max_length=60), default=list, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    method = models.ForeignKey("catalog.Method", on_delete=models.PROTECT, related_name="runs")
    task = models.ForeignKey("catalog.Task", on_delete=models.PROTECT, related_name="runs")
    spec = models.JSONField(help_text="The complete RunSpec.")
    config_hash = models.CharField(max_length=16, help_text="Equal for runs that differ in nothing but their seeds.")
    seed = models.BigIntegerField()
    baseline = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The run of its method's baseline, launched beside it.",
    )
    teachers = models.ManyToManyField("catalog.ModelRecord", blank=True, related_name="taught_runs")
    continued_from = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="continuations",
        help_text="The run whose last checkpoint this one began with.",
    )
    began_after = models.BigIntegerField(
        null=True,
        blank=True,
        help_text="The step of that checkpoint: this run's own steps come after it. Null for a run of its own.",
    )
    cloned_from = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="clones")

    state = models.CharField(max_length=12, choices=State.choices, default=State.DRAFT)
    reason = models.TextField(blank=True, help_text="Why it is in its state, one sentence.")
    priority = models.SmallIntegerField(default=0, help_text="Higher goes first.")
    device_kind = models.CharField(max_length=8, choices=[("cpu", "CPU"), ("cuda", "GPU"), ("any", "Any")], default="any")
    device_count = models.PositiveSmallIntegerField(default=1)
    seconds_limit = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Seconds of work after which it is stopped, counted since a person last said go; null for never."
    )
    attempt = models.PositiveIntegerField(default=0)
    stop_requested_at = models.DateTimeField(null=True, blank=True)
    stop_requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")

    phase = models.CharField(max_length=60, blank=True)
    phase_index = models.PositiveIntegerField(null=True, help_text="Place of the phase among the run's, from 0; null before the first.")
    phase_count = models.PositiveIntegerField(null=True, help_text="How many phases the run has; null where it is not known ahead.")
    step = models.BigIntegerField(default=0)
    total_steps = models.BigIntegerField(default=0)
    steps_per_second = models.FloatField(null=True, blank=True)
    train_seconds = models.FloatField(default=0)
    checkpoint_step = models.BigIntegerField(null=True, blank=True)
    checkpoint_path = models.CharField(max_length=500, blank=True, help_text="Relative to the artifact store.")
    checkpoint_bytes = models.BigIntegerField(default=0, db_default=0, help_text="What its last checkpoint takes of the store.")

    created_at = models.DateTimeField(db_default=Now())
    queued_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True, help_text="In the trash since.")
    keep_checkpoints = models.BooleanField(default=False, help_text="Its checkpoints are kept though it succeeded.")

    class Meta:
        ordering: ClassVar = ["-created_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "number"], name="run_number"),
            models.CheckConstraint(condition=Q(state__in=State.values), name="run_state_is_known"),
            models.CheckConstraint(condition=~Q(state__in=HELD) | Q(attempt__gt=0), name="held_run_has_an_attempt"),
            models.CheckConstraint(condition=~Q(state__in=ENDED) | Q(finished_at__isnull=False), name="ended_run_has_an_end"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["project", "-created_at"], name="run_newest"),
            models.Index(fields=["project", "config_hash"], name="run_seed_group"),
            models.Index(fields=["-priority", "queued_at"], name="run_queue", condition=Q(state="queued")),
            models.Index(fields=["state"], name="run_held", condition=Q(state__in=HELD)),
            GinIndex(fields=["tags"], name="run_tags"),
        ]

    def __str__(self) -> str:
        return self.name


class AttemptQuerySet(models.QuerySet["Attempt"]):
    def told(self) -> Self:
        """With what pages and API tell of an attempt beside its fields. At no statement more."""
        late = Q(ended_at=None, heartbeat_at__lt=Now() - timedelta(seconds=settings.SILENT_SECONDS))
        refused = Attempt.objects.filter(run=OuterRef("run"), not_again=True, by__isnull=False)
        return self.annotate(
            quiet_since=Coalesce("silent_since", Case(When(late, then="heartbeat_at"))), refused_by=ArraySubquery(refused.values("by"))
        )


class Attempt(models.Model):
    """One try of one worker. The lease is its heartbeat: lost when `heartbeat_at` is older than the lease time, by the database's clock."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    worker = models.CharField(max_length=200)
    by = models.ForeignKey("fleet.Worker", null=True, blank=True, on_delete=models.SET_NULL, related_name="attempts")
    pid = models.PositiveIntegerField(null=True, help_text="Of the child process.")
    device = models.CharField(max_length=200, blank=True)
    device_kind = models.CharField(max_length=8, blank=True, db_default="", help_text="cpu or cuda.")
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())
    silent_since = models.DateTimeField(null=True, blank=True)
    stalled_since = models.DateTimeField(null=True, blank=True)
    stall = models.TextField(blank=True, db_default="", help_text="How it stands still, one sentence; empty while it moves.")
    ended_at = models.DateTimeField(null=True, blank=True)
    exit = models.CharField(
        max_length=20, blank=True, help_text="succeeded, failed, stopped, crashed, lost, returned; empty while it goes on."
    )
    not_again = models.BooleanField(
        default=False, db_default=False, help_text="The run is not for this attempt's worker again, until a person says go."
    )
    reason = models.TextField(blank=True)
    from_step = models.BigIntegerField(default=0)
    last_lines = models.TextField(blank=True)

    quiet_since: datetime | None = None
    """Since when nothing was heard from its worker, by the database's clock, though no watchdog may have looked; only on rows of `told`."""
    refused_by: Sequence[uuid.UUID] = ()
    """The workers that gave its run away and don't take it again; only on rows of `told`."""

    objects: ClassVar = AttemptQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["run", "number"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["run", "number"], name="attempt_number")]

    def __str__(self) -> str:
        return f"{self.run_id} #{self.number}"


class HistoryLine(models.Model):
    """One change of a run's state: who, when, from what to what, why."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="history")
    at = models.DateTimeField(db_default=Now())
    who = models.CharField(max_length=200)
    before = models.CharField(max_length=12, blank=True)
    after = models.CharField(max_length=12)
    reason = models.TextField(blank=True)

    class Meta:
        ordering: ClassVar = ["run", "id"]

    def __str__(self) -> str:
        return f"{self.before} → {self.after}"


class MetricSeries(models.Model):
    """The name of one curve of one run, its newest value, and its stored envelope.

    Every batch that the sink commits has a number, `batch`, that grows by one within a run: the cursor of live pages and notebooks.
    `overview` is the min–max envelope of a long series (see history/envelope.py); it covers the steps up to `overview_step`.
    """

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="series")
    name = models.CharField(max_length=120)
    last_step = models.BigIntegerField(null=True)
    last_value = models.FloatField(null=True)
    points = models.BigIntegerField(default=0)
    overview = models.BinaryField(null=True)
    overview_step = models.BigIntegerField(null=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["run", "name"], name="series_name")]

    def __str__(self) -> str:
        return self.name


class MetricPoint(models.Model):
    """One value of one series at one step: the narrow table that COPY fills. No foreign key is checked for each row; who deletes a series
    by this model deletes its points."""

    pk = models.CompositePrimaryKey("series_id", "step")
    series = models.ForeignKey(MetricSeries, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    step = models.BigIntegerField()
    value = models.FloatField()


class MetricBatch(models.Model):
    """What one committed batch wrote: for each series the range of its steps. A reader that has seen batch n asks for the ranges of later ones.

    A new attempt that goes on from an earlier step first removes the points after it, and says so with a row whose `cut_after` is that step
    (series empty): readers drop what they have beyond it.
    """

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="batches")
    number = models.BigIntegerField()
    attempt = models.PositiveIntegerField()
    series = models.ForeignKey(MetricSeries, null=True, on_delete=models.CASCADE, related_name="+")
    first_step = models.BigIntegerField(null=True)
    last_step = models.BigIntegerField(null=True)
    points = models.IntegerField(default=0)
    cut_after = models.BigIntegerField(null=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["run", "number"], name="batch_cursor")]


class LatestMetric(models.Model):
    """The newest headline value of a run by name, from its evaluations: what the runs table sorts and filters by, in a table of its own.

    Names: `accuracy`, `nll`, … of the student's last evaluation; the final one on the test split replaces those on validation.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="latest")
    name = models.CharField(max_length=120)
    value = models.FloatField(null=True)
    step = models.BigIntegerField()
    split = models.CharField(max_length=12, blank=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["run", "name"], name="latest_name")]
        indexes: ClassVar = [models.Index(fields=["name", "value"], name="latest_by_value")]


class EvaluationQuerySet(models.QuerySet["Evaluation"]):
    """Which evaluation judges a run is said here alone."""

    JUDGING_ORDER = ("-is_final_test", "-step", "-final")

    def judging(self) -> Self:
        """Those that a model may be judged by, the one that judges it first: the final one on the test split, else the newest on validation."""
        final_test = Case(When(final=True, split="test", then=1), default=0)
        may_judge = self.filter(Q(split="validation") | Q(final=True))
        return may_judge.annotate(is_final_test=final_test).order_by(*self.JUDGING_ORDER)

    def judging_each_run(self) -> Self:
        """The one of each run that judges it. The queryset is of one subject."""
        return self.judging().order_by("run_id", *self.JUDGING_ORDER).distinct("run_id")


class Evaluation(models.Model):
    """How the student, or its teacher, did at a step. Tables hold what the pictures need: reliability bins, risk–coverage, confusion."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="evaluations")
    attempt = models.PositiveIntegerField()
    step = models.BigIntegerField()
    subject = models.CharField(max_length=12)
    split = models.CharField(max_length=12)
    final = models.BooleanField(default=False)
    metrics = models.JSONField()
    tables = models.JSONField(default=dict)
    at = models.DateTimeField(db_default=Now())

    objects: ClassVar = EvaluationQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["run", "step", "id"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["run", "step", "subject", "split", "final"], name="one_evaluation_a_step")]


class Artifact(models.Model):
    """A file or folder that an attempt left in the store. The run's artifacts are those of its settling attempt; earlier ones are superseded by name."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="artifacts")
    attempt = models.PositiveIntegerField()
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=20)
    path = models.CharField(max_length=500, help_text="Relative to the artifact store.")
    bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    meta = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["run", "name"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["run", "attempt", "name"], name="artifact_name")]


class LogLine(models.Model):
    """A line for people, from the engine or the worker."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="log_lines")
    attempt = models.PositiveIntegerField()
    at = models.DateTimeField(db_default=Now())
    level = models.CharField(max_length=8)
    text = models.TextField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["run", "id"], name="log_of_run")]


class IdempotencyKey(models.Model):
    """A launch that was asked for under a key. The same key with the same body gives the same runs; with another body it is refused."""

    project = models.ForeignKey("accounts.Project", on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=200)
    body_sha256 = models.CharField(max_length=64)
    run_ids = ArrayField(models.UUIDField(), default=list)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["project", "user", "key"], name="idempotency_key")]


class Quota(models.Model):
    """What one project, or one person over all projects, may have at most. An empty field leaves it to the operator's defaults
    (STILLHOUSE_PROJECT_QUOTA, STILLHOUSE_PERSON_QUOTA). `quotas.py` says what counts."""

    project = models.OneToOneField("accounts.Project", null=True, blank=True, on_delete=models.CASCADE, related_name="quota")
    person = models.OneToOneField(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="quota")
    queued_runs = models.PositiveBigIntegerField(null=True, blank=True, help_text="Runs that wait at a time.")
    running_runs = models.PositiveBigIntegerField(null=True, blank=True, help_text="Runs that workers hold at a time; more wait.")
    steps = models.PositiveBigIntegerField(null=True, blank=True, help_text="Optimizer steps of one run.")
    seconds = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Seconds of work of one run: the longest time limit that it may have."
    )
    store_bytes = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Bytes of the runs' files; when they are used up, nothing new is launched."
    )

    class Meta:
        verbose_name_plural = "quotas"
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(project__isnull=False) ^ Q(person__isnull=False), name="quota_of_a_project_or_a_person"),
        ]

    def __str__(self) -> str:
        return f"quota of {self.project or self.person}"
