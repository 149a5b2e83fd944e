"""The baseline of a run is that of its method's card; it may have teachers. Changes a description, no column."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0002_points_go_with_their_series")]

    operations = [
        migrations.AlterField(
            model_name="run",
            name="baseline",
            field=models.ForeignKey(
                blank=True,
                help_text="The run of its method's baseline, launched beside it.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="runs.run",
            ),
        ),
    ]
