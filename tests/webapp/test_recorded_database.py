"""A database that the code before the rooms were redrawn has made migrates with everything in it, and its pages open."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tests.webapp.recorded import recorded

pytestmark = pytest.mark.servers
FILLED_ANEW = {"django_migrations", "django_content_type", "auth_permission"}
"""Tables to which a migration, or the synchronization of the catalog, may add rows of its own."""


@pytest.fixture(scope="module")
def empty_database(embedded_servers: None) -> Iterator[str]:
    """The address of a database of this test's own."""
    from django.conf import settings

    parts, name = urlsplit(settings.DATABASE_URL), f"recorded_{os.getpid()}"
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield urlunsplit(parts._replace(path=f"/{name}"))
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="module")
def found(empty_database: str) -> dict[str, Any]:
    """What today's code finds in the recorded database."""
    made = subprocess.run(
        [sys.executable, "-m", "tests.webapp.recorded"],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"DATABASE_URL": empty_database},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    answer: dict[str, Any] = json.loads(made.stdout)
    return answer


def test_no_row_is_lost(found: dict[str, Any]) -> None:
    tables = recorded()["tables"]

    for name, table in tables.items():
        if name in FILLED_ANEW or name.startswith("catalog_"):
            assert found["counts"][name] >= table["rows"], name
        else:
            assert found["counts"][name] == table["rows"], name
    assert tables["runs_run"]["rows"] == 9
    assert tables["runs_metricpoint"]["rows"] == 31_412


def test_every_page_of_it_opens(found: dict[str, Any]) -> None:
    assert set(found["statuses"].values()) == {200}
    assert len(found["statuses"]) == 6 + 4 * 9


def test_runs_keep_their_numbers_specifications_and_curves(found: dict[str, Any]) -> None:
    table = recorded()["tables"]["runs_run"]
    rows = [dict(zip(table["columns"], line.split("\t"), strict=True)) for line in table["data"].splitlines()]

    for row in rows:
        assert found["details"][row["id"]]["number"] == int(row["number"])
        assert found["details"][row["id"]]["name"] == row["name"]
        assert found["hashes"][row["id"]] == [row["config_hash"]] * 2
    assert all(found["points"].values())
