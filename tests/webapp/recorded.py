"""Makes the recorded database again, migrates it with today's code, and looks at what is in it: `python -m tests.webapp.recorded`.

Works in the empty database that DATABASE_URL names. Prints one JSON object: the rows of each table, what pages and API answer about each run,
and the hashes of the stored specifications.
"""

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import django

FILE = Path(__file__).parent / "recorded" / "database.json.gz"


def recorded() -> dict[str, Any]:
    """`migrations`: (app, name) in the order in which they were applied. `tables`: by name, columns, the number of rows, and the rows as COPY's text."""
    found: dict[str, Any] = json.loads(gzip.decompress(FILE.read_bytes()))
    return found


def make_again(before: dict[str, Any]) -> None:
    """The schema as it was, by the migrations that had been applied, and every row."""
    from django.core.management.color import no_style
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    last = dict(before["migrations"])
    executor.migrate(list(last.items()))
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # rows come in the order of the tables' names, not of their foreign keys
        cursor.execute(f"TRUNCATE {', '.join(connection.ops.quote_name(name) for name in before['tables'])}")
        for name, table in before["tables"].items():
            columns = ", ".join(map(connection.ops.quote_name, table["columns"]))
            with cursor.copy(f"COPY {connection.ops.quote_name(name)} ({columns}) FROM STDIN") as copy:
                copy.write(table["data"])
        models = executor.loader.project_state(list(last.items())).apps.get_models(include_auto_created=True)
        for statement in connection.ops.sequence_reset_sql(no_style(), models):  # COPY gives numbers that the sequences do not know of
            cursor.execute(statement)
        cursor.execute("SET session_replication_role = DEFAULT")


def look() -> dict[str, Any]:
    """What today's code finds: the rows first, for to look is to sign in."""
    from django.db import connection
    from django.test import Client

    from engine.spec.run_spec import RunSpec
    from webapp.accounts.models import User
    from webapp.runs.models import Run

    with connection.cursor() as cursor:
        names = connection.introspection.table_names(cursor)
        counts = {}
        for name in names:
            cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(name)}")
            counts[name] = cursor.fetchone()[0]
    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.get(username="demo"))
    runs = list(Run.objects.order_by("number"))
    ids = ",".join(str(run.pk) for run in runs)
    addresses = [
        "/p/demo/",
        f"/p/demo/compare/?runs={ids}",
        "/p/demo/models/",
        "/p/demo/trash/",
        "/p/demo/launch/",
        f"/api/v1/compare/?runs={ids}",
    ]
    for run in runs:
        addresses += [f"/runs/{run.pk}/", f"/runs/{run.pk}/curves/", f"/api/v1/runs/{run.pk}/", f"/api/v1/runs/{run.pk}/metrics/"]
    answers = {address: client.get(address) for address in addresses}
    return {
        "counts": counts,
        "statuses": {address: answer.status_code for address, answer in answers.items()},
        "details": {str(run.pk): answers[f"/api/v1/runs/{run.pk}/"].json() for run in runs},
        "points": {
            str(run.pk): {
                name: len(values["steps"]) for name, values in answers[f"/api/v1/runs/{run.pk}/metrics/"].json()["series"].items()
            }
            for run in runs
        },
        "hashes": {str(run.pk): [run.config_hash, RunSpec.parse(run.spec).config_hash()] for run in runs},
    }


def main() -> None:
    django.setup()
    from django.core.management import call_command

    before = recorded()
    make_again(before)
    call_command("migrate", verbosity=0)
    call_command("sync_catalog", stdout=io.StringIO())
    sys.stdout.write(json.dumps(look()))


if __name__ == "__main__":
    main()
