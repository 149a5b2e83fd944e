"""A run may go on from the last checkpoint of another one, with a larger budget."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0003_the_baseline_is_the_methods")]

    operations = [
        migrations.AddField(
            model_name="run",
            name="continued_from",
            field=models.ForeignKey(
                blank=True,
                help_text="The run whose last checkpoint this one began with.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="continuations",
                to="runs.run",
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="began_after",
            field=models.BigIntegerField(
                blank=True,
                help_text="The step of that checkpoint: this run's own steps come after it. Null for a run of its own.",
                null=True,
            ),
        ),
    ]
