"""How runs and what they leave look as JSON."""

from typing import Any

from rest_framework import serializers

from webapp.runs.history.headline import latest_of
from webapp.runs.models import Artifact, Attempt, Evaluation, HistoryLine, LogLine, Run, State
from webapp.runs.progress import newest_attempt, supply_for
from webapp.runs.table.rows import RunRow, row_of


class NumberOrNull(serializers.FloatField):
    """A number, or null where it is undefined."""

    def __init__(self) -> None:
        super().__init__(allow_null=True)


class RunSerializer(serializers.Serializer[RunRow]):
    """A run as a line of the table."""

    id = serializers.UUIDField()
    number = serializers.IntegerField(help_text="Counts the project's runs from 1, in the order of their launch.")
    name = serializers.CharField()
    tags = serializers.ListField(child=serializers.CharField())
    method = serializers.CharField(help_text="Its id in the catalog.")
    task = serializers.CharField(help_text="Its id in the catalog.")
    student = serializers.CharField(help_text="`mlp-16`, or `run:<id>` when it began with the weights of another run's student.")
    seed = serializers.IntegerField()
    config_hash = serializers.CharField(help_text="Equal for runs that differ in nothing but their seeds.")
    state = serializers.ChoiceField(source="status.state", choices=State.choices)
    status = serializers.CharField(
        source="status.word", help_text="The state, or what matters more at the moment: stopping, silent, stalled."
    )
    reason = serializers.CharField(source="status.reason", help_text="Why it is in its state, and why no worker takes it; may be empty.")
    phase = serializers.CharField(source="status.phase")
    phase_index = serializers.IntegerField(source="status.phase_index", allow_null=True, help_text="From 0; null before the first phase.")
    phase_count = serializers.IntegerField(source="status.phase_count", allow_null=True, help_text="Null where it is not known ahead.")
    step = serializers.IntegerField(source="status.step")
    total_steps = serializers.IntegerField(source="status.total")
    steps_per_second = serializers.FloatField(source="status.rate", allow_null=True)
    seconds_left = serializers.FloatField(source="status.left", allow_null=True)
    train_seconds = serializers.FloatField(source="status.trained")
    priority = serializers.IntegerField()
    baseline = serializers.UUIDField(allow_null=True, help_text="The run that was launched beside it as its baseline.")
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    queued_at = serializers.DateTimeField(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    deleted_at = serializers.DateTimeField(allow_null=True, help_text="In the trash since.")
    metrics = serializers.DictField(
        child=NumberOrNull(), help_text="The newest headline values: of the final test, else of the last validation."
    )


class RunDetailSerializer(RunSerializer):
    """A run with all that defines it."""

    project = serializers.CharField(help_text="Its slug.")
    notes = serializers.CharField()
    spec = serializers.DictField(help_text="The complete RunSpec.")
    continued_from = serializers.UUIDField(allow_null=True, help_text="The run whose last checkpoint this one began with.")
    cloned_from = serializers.UUIDField(allow_null=True)
    attempt = serializers.IntegerField(help_text="Number of the current or last attempt; 0 before the first.")
    checkpoint_step = serializers.IntegerField(allow_null=True)
    keep_checkpoints = serializers.BooleanField(help_text="Whether its checkpoints are kept after it has succeeded.")


class RunsPageSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = RunSerializer(many=True)


def detail_of(run: Run, *, is_new: bool = False) -> dict[str, Any]:
    """A run with all that defines it, as JSON. `is_new`: there is nothing to fetch about it yet."""
    row = row_of(run, None, {}) if is_new else row_of(run, newest_attempt(run), latest_of(run), supply_for([run]))
    more = {
        "project": run.project.slug,
        "notes": run.notes,
        "spec": run.spec,
        "continued_from": run.continued_from_id,
        "cloned_from": run.cloned_from_id,
        "attempt": run.attempt,
        "checkpoint_step": run.checkpoint_step,
        "keep_checkpoints": run.keep_checkpoints,
    }
    return {**RunSerializer(row).data, **more}


class AttemptSerializer(serializers.ModelSerializer[Attempt]):
    silent_since = serializers.DateTimeField(source="quiet_since", allow_null=True, read_only=True)

    class Meta:
        model = Attempt
        fields = (
            "number",
            "worker",
            "pid",
            "device",
            "started_at",
            "heartbeat_at",
            "silent_since",
            "stalled_since",
            "ended_at",
            "exit",
            "reason",
            "from_step",
            "last_lines",
        )


class HistoryLineSerializer(serializers.ModelSerializer[HistoryLine]):
    class Meta:
        model = HistoryLine
        fields = ("at", "who", "before", "after", "reason")


class EvaluationSerializer(serializers.ModelSerializer[Evaluation]):
    """How student or teacher did on a split. `tables` is there when asked for."""

    metrics = serializers.DictField(child=NumberOrNull())
    tables = serializers.DictField(required=False)

    class Meta:
        model = Evaluation
        fields: tuple[str, ...] = ("id", "step", "subject", "split", "final", "at", "metrics", "tables")


class BriefEvaluationSerializer(EvaluationSerializer):
    class Meta(EvaluationSerializer.Meta):
        fields = ("id", "step", "subject", "split", "final", "at", "metrics")


class ArtifactSerializer(serializers.ModelSerializer[Artifact]):
    meta = serializers.DictField()

    class Meta:
        model = Artifact
        fields = ("id", "attempt", "name", "kind", "bytes", "sha256", "meta", "created_at")


class LogLineSerializer(serializers.ModelSerializer[LogLine]):
    class Meta:
        model = LogLine
        fields = ("attempt", "at", "level", "text")


class LogSerializer(serializers.Serializer[Any]):
    cursor = serializers.CharField(help_text="Send it as `after` to get the lines that follow.")
    results = LogLineSerializer(many=True)


class CurveSerializer(serializers.Serializer[Any]):
    steps = serializers.ListField(child=serializers.IntegerField())
    values = serializers.ListField(child=NumberOrNull())


class HistorySerializer(serializers.Serializer[Any]):
    """Curves by name."""

    cursor = serializers.CharField(help_text="Send it as `after` to get only what is newer.")
    cut_after = serializers.IntegerField(
        allow_null=True, help_text="Drop what you have beyond this step first: a new attempt goes on from there."
    )
    series = serializers.DictField(child=CurveSerializer())
