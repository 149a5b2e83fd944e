"""The workers that there are, and the marker of their store."""

import django.contrib.postgres.fields
import django.db.models.functions.datetime
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Worker",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, help_text="Made anew at each start of the process.", primary_key=True, serialize=False
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        help_text="`host:pid`: how attempts, history and log name it. Two containers may have the same.", max_length=200
                    ),
                ),
                ("host", models.CharField(max_length=200)),
                ("version", models.CharField(blank=True, help_text="Of Stillhouse.", max_length=60)),
                ("started_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "heard_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), help_text="Its last heartbeat, every HEARTBEAT_SECONDS."
                    ),
                ),
                ("left_at", models.DateTimeField(blank=True, help_text="It said goodbye; null for one that was killed.", null=True)),
                (
                    "cpu_slots",
                    models.PositiveSmallIntegerField(default=0, help_text="Runs on the CPU that it trains at once, busy or free."),
                ),
                (
                    "gpu_count",
                    models.PositiveSmallIntegerField(default=0, help_text="Its GPUs, busy or free: the most that one run of it can have."),
                ),
                (
                    "gpus",
                    models.JSONField(
                        default=list, help_text="A `{uuid, name, memory_bytes, free_bytes}` for each of them; free as last told."
                    ),
                ),
                ("memory_bytes", models.BigIntegerField(default=0, help_text="Main memory of its host.")),
                (
                    "free_memory_bytes",
                    models.BigIntegerField(default=0, help_text="Of it, what could be had without swapping, as last told."),
                ),
                (
                    "model_roots",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        default=list,
                        help_text="STILLHOUSE_MODEL_ROOTS: folders of which it opens `hf:` models.",
                        size=None,
                    ),
                ),
                (
                    "hub_models",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        default=list,
                        help_text="STILLHOUSE_HUB_MODELS: patterns of hub names that it opens.",
                        size=None,
                    ),
                ),
                (
                    "store_problem",
                    models.TextField(
                        blank=True,
                        default="it has not yet shown that it shares the store",
                        help_text="Why it does not take runs, after `but`; empty when all is well.",
                    ),
                ),
                (
                    "failed_runs",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(),
                        default=list,
                        help_text="Runs that failed here before their first step since one last made a step, each once.",
                        size=None,
                    ),
                ),
                ("set_aside_until", models.DateTimeField(blank=True, help_text="It takes no runs until then.", null=True)),
                (
                    "times_set_aside",
                    models.PositiveSmallIntegerField(default=0, help_text="In a row: each time is twice as long as the one before."),
                ),
                ("set_aside_reason", models.TextField(blank=True, help_text="The last of the failures that set it aside.")),
            ],
            options={
                "ordering": ["name", "started_at"],
            },
        ),
        migrations.CreateModel(
            name="StoreMarker",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("text", models.CharField(max_length=64)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=models.Q(("id", 1)), name="one_store")],
            },
        ),
    ]
