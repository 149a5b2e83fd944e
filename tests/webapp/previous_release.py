"""A database of the first release with a million points, migrated with today's code, and what is found in it:
`python -m tests.webapp.previous_release`.

Works in the empty database that DATABASE_URL names. Prints one JSON object.
"""

import json
import sys
from typing import Any
from uuid import UUID

import django

RUNS, POINTS = 10, 100_000
"""Runs with one curve each, and the points of each curve: value = step mod 1000, and at step 54,321 a spike of 5000."""

SPIKE_STEP, SPIKE = 54_321, 5000.0
FIRST_RELEASE = [("accounts", "0001_initial"), ("catalog", "0002_initial"), ("runs", "0001_initial")]
LOST = 987_654
"""A series that no row knows: the first release left such points behind when a run was deleted."""


def id_of(number: int) -> UUID:
    return UUID(int=number)


def make() -> None:
    """The first release's tables, filled with its own models."""
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    ours = {"accounts", "catalog", "runs", "operate", "fleet"}
    others = [node for node in executor.loader.graph.leaf_nodes() if node[0] in {"auth", "contenttypes", "sessions"} - ours]
    apps = executor.migrate([*others, *FIRST_RELEASE]).apps
    user = apps.get_model("accounts", "User").objects.create(username="ann", is_active=True)
    project = apps.get_model("accounts", "Project").objects.create(slug="demo", name="Demo", last_run_number=RUNS)
    apps.get_model("accounts", "Membership").objects.create(user=user, project=project, role="owner")
    method = apps.get_model("catalog", "Method").objects.create(id="supervised", version=1, card={})
    task = apps.get_model("catalog", "Task").objects.create(id="digits", version=1, card={})
    for number in range(1, RUNS + 1):
        _make_run(apps, number, project, method, task)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO runs_metricpoint (series_id, step, value)"
            " SELECT series.id, step, CASE step WHEN %s THEN %s ELSE step %% 1000 END"
            " FROM runs_metricseries AS series, generate_series(1, %s) AS step",
            [SPIKE_STEP, SPIKE, POINTS],
        )
        cursor.execute(
            "INSERT INTO runs_metricpoint (series_id, step, value) SELECT %s, step, 0 FROM generate_series(1, 1000) AS step", [LOST]
        )


def _make_run(apps: Any, number: int, project: Any, method: Any, task: Any) -> None:
    from django.utils import timezone

    from engine.spec.run_spec import RunSpec

    spec = RunSpec.parse({"method": "supervised", "task": "digits", "seed": number, "budget": {"steps": POINTS}, "device": "cpu"})
    run = apps.get_model("runs", "Run").objects.create(
        id=id_of(number),
        project=project,
        number=number,
        name=f"run {number}",
        method=method,
        task=task,
        spec=spec.model_dump(mode="json"),
        config_hash=spec.config_hash(),
        seed=number,
        state="succeeded",
        attempt=1,
        step=POINTS,
        total_steps=POINTS,
        finished_at=timezone.now(),
    )
    apps.get_model("runs", "Attempt").objects.create(run=run, number=1, worker="w", exit="succeeded", ended_at=timezone.now())
    series = apps.get_model("runs", "MetricSeries").objects.create(run=run, name="loss", last_step=POINTS, last_value=0.0, points=POINTS)
    apps.get_model("runs", "MetricBatch").objects.create(
        run=run, number=1, attempt=1, series=series, first_step=1, last_step=POINTS, points=POINTS
    )


def look() -> dict[str, Any]:
    """What today's code shows of it."""
    from django.test import Client

    from webapp.accounts.models import User
    from webapp.runs.models import MetricPoint, Run

    client = Client(headers={"host": "localhost"})
    points = MetricPoint.objects.count()
    lost = MetricPoint.objects.filter(series_id=LOST).count()
    client.force_login(User.objects.get(username="ann"))
    first = id_of(1)
    pages = ["/p/demo/", "/p/demo/settings/", f"/runs/{first}/", f"/runs/{first}/curves/", f"/p/demo/compare/?runs={first},{id_of(2)}"]
    curve = client.get(f"/api/v1/runs/{first}/metrics/?points=400").json()["series"]["loss"]
    return {
        "statuses": {page: client.get(page).status_code for page in pages},
        "points": points,
        "lost": lost,
        "runs": list(Run.objects.order_by("number").values_list("name", "state", "keep_checkpoints", "deleted_at")),
        "curve": {"ends": [curve["steps"][0], curve["steps"][-1]], "highest": max(curve["values"]), "points": len(curve["steps"])},
        "exact": client.get(f"/api/v1/runs/{first}/metrics/?first=54320&last=54322").json()["series"]["loss"],
    }


def main() -> None:
    django.setup()
    from django.core.management import call_command

    make()
    call_command("migrate", verbosity=0)
    call_command("sync_catalog", stdout=sys.stderr)
    sys.stdout.write(json.dumps(look()))


if __name__ == "__main__":
    main()
