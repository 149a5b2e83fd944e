from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0007_quotas_and_time_limits")]

    operations = [
        migrations.AddField(
            model_name="run",
            name="checkpoint_bytes",
            field=models.BigIntegerField(db_default=0, default=0, help_text="What its last checkpoint takes of the store."),
        ),
    ]
