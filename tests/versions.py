"""A database of another version than the code, as all processes see it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection

FUTURE = "9999_from_the_future"
NEWER = f"The database is from a newer Stillhouse: it has runs.{FUTURE}; update the code."


def execute(statement: str, *values: Any) -> list[Any]:
    """On a connection of its own, committed at once: whatever transaction the test is in."""
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as own:
        ran = own.execute(statement, values)
        return ran.fetchall() if ran.description else []


def heal() -> None:
    """Takes away what a newer version has done."""
    execute("DELETE FROM django_migrations WHERE name = %s", FUTURE)


@contextmanager
def newer_database() -> Iterator[None]:
    """It has a migration of runs that this code lacks."""
    execute("INSERT INTO django_migrations (app, name, applied) VALUES ('runs', %s, now())", FUTURE)
    try:
        yield
    finally:
        heal()


@contextmanager
def older_database() -> Iterator[str]:
    """It lacks the newest migration of runs, whose name is given."""
    ((name, applied),) = execute("SELECT name, applied FROM django_migrations WHERE app = 'runs' ORDER BY name DESC LIMIT 1")
    execute("DELETE FROM django_migrations WHERE app = 'runs' AND name = %s", name)
    try:
        yield name
    finally:
        execute("INSERT INTO django_migrations (app, name, applied) VALUES ('runs', %s, %s)", name, applied)
