"""Attempts know which worker process makes them, whether they stand still, and whether that worker may have the run again."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("fleet", "0001_the_workers_and_the_store"),
        ("runs", "0004_a_run_may_continue_another"),
    ]

    operations = [
        migrations.AddField(
            model_name="attempt",
            name="by",
            field=models.ForeignKey(
                blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="attempts", to="fleet.worker"
            ),
        ),
        migrations.AddField(
            model_name="attempt",
            name="not_again",
            field=models.BooleanField(
                db_default=False, default=False, help_text="The run is not for this attempt's worker again, until a person says go."
            ),
        ),
        migrations.AddField(
            model_name="attempt",
            name="stall",
            field=models.TextField(blank=True, db_default="", help_text="How it stands still, one sentence; empty while it moves."),
        ),
        migrations.AddField(
            model_name="attempt",
            name="stalled_since",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name="attempt",
            name="exit",
            field=models.CharField(
                blank=True, help_text="succeeded, failed, stopped, crashed, lost, returned; empty while it goes on.", max_length=20
            ),
        ),
    ]
