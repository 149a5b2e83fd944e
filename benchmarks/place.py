"""Where a benchmark works: the servers that the environment names (else the embedded ones), and a project that is deleted afterwards."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

if TYPE_CHECKING:
    from webapp.accounts.models import Project


@contextmanager
def project() -> Iterator["Project"]:
    """A project in a migrated database that knows the catalog. Its runs and their files are gone when the block ends."""
    import shutil

    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection

    from webapp import servers
    from webapp.accounts.models import Project

    servers.ensure()
    call_command("migrate", verbosity=0)
    call_command("sync_catalog", verbosity=0)
    settings.DEBUG = False
    project = Project.objects.create(slug=f"benchmark-{os.getpid()}", name="Benchmark")
    try:
        yield project
    finally:
        runs = list(project.runs.values_list("pk", flat=True))
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM runs_metricpoint WHERE series_id IN (SELECT id FROM runs_metricseries WHERE run_id = ANY(%s))", [runs]
            )
        project.delete()
        for run_id in runs:
            shutil.rmtree(Path(settings.STORE) / "runs" / str(run_id), ignore_errors=True)


def verdict(name: str, value: float, unit: str, target: float, *, at_least: bool) -> bool:
    """Prints one line, `name: value (target …, ratio …)`, and says whether the target was met."""
    ratio = value / target if at_least else target / value
    sign = "≥" if at_least else "≤"
    print(f"{name}: {value:,.4g} {unit} (target {sign} {target:,.4g}; ratio {ratio:.2f}{'' if ratio >= 1 else ', MISSED'})")
    return ratio >= 1
