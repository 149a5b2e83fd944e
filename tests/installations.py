"""Installations of a test's own: a database on the session's server, a store, and the commands that an operator gives there."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

ROOT = Path(__file__).resolve().parent.parent


class Installation:
    """Its database and store, and the environment of its processes."""

    def __init__(self, environment: Mapping[str, str], store: Path) -> None:
        self.environment = {**environment, "STILLHOUSE_STORE": str(store)}
        self.url, self.store = environment["DATABASE_URL"], store

    def manage(self, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        """`manage.py …`, ended."""
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, check=False, timeout=300)

    def did(self, *arguments: str) -> str:
        """What `manage.py …` printed, when it ended well."""
        ended = self.manage(*arguments)
        assert ended.returncode == 0, ended.stdout[-2000:].decode() + ended.stderr[-4000:].decode()
        return ended.stdout.decode()

    def refused(self, *arguments: str) -> str:
        """The sentence with which `manage.py …` ended with 1."""
        ended = self.manage(*arguments)
        assert ended.returncode == 1, ended.stdout[-2000:].decode() + ended.stderr[-4000:].decode()
        return ended.stderr.decode().splitlines()[-1]

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a statement of the test's own."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(statement.encode()).fetchall()

    def rows(self) -> dict[str, tuple[int, str]]:
        """Of each table, how many rows it has and a hash of them all."""
        found = {}
        for (table,) in self.ask(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        ):
            name = sql.Identifier(table).as_string()
            ((count, digest),) = self.ask(f"SELECT count(*), md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {name} t")
            found[str(table)] = (int(count), str(digest))
        return found

    def files(self) -> dict[str, bytes]:
        """Every file of the store, by its path."""
        return {path.relative_to(self.store).as_posix(): path.read_bytes() for path in self.store.rglob("*") if path.is_file()}


@contextmanager
def empty_installation(environment: Mapping[str, str], folder: Path, name: str) -> Iterator[Installation]:
    """A new database without a table, and a store that is not there yet."""
    from django.conf import settings

    parts, database = urlsplit(environment["DATABASE_URL"]), sql.Identifier(f"{name}_{os.getpid()}")
    url = urlunsplit(parts._replace(path=f"/{name}_{os.getpid()}"))
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(database))
        try:
            yield Installation({**environment, "DATABASE_URL": url}, folder)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
