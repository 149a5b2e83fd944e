import django.db.models.deletion
from django.db import migrations, models

ORPHANS = """
DELETE FROM runs_metricpoint AS point
WHERE NOT EXISTS (SELECT FROM runs_metricseries AS series WHERE series.id = point.series_id)
"""


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0001_initial"),
    ]

    operations = [
        migrations.AlterField(
            model_name="metricpoint",
            name="series",
            field=models.ForeignKey(
                db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="runs.metricseries"
            ),
        ),
        migrations.RunSQL(ORPHANS, migrations.RunSQL.noop),
    ]
