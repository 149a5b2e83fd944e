"""A backup → an empty database and store, all or nothing.

The archive is checked first, as a whole. Then the store's files are written beside their place; the tables are made by the migrations that the
backup names and filled, in one transaction; and just before that commits, the files are renamed into place. What fails leaves both as they were.
"""

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from psycopg import sql

from webapp.operate.backup import tables
from webapp.operate.backup.archive import PIECE, STORE, TABLE_MEMBER, BackupError, Manifest, Say
from webapp.operate.backup.read import check, members
from webapp.runs import lifecycle
from webapp.runs.models import Artifact

WHO = "restore"
NOBODYS = ("django_", "auth_", "catalog_method", "catalog_task", "operate_heard", "axes_")
"""Tables that may have rows in an installation that nobody has used."""


def restore(path: Path, say: Say, *, replace: bool = False) -> Manifest:
    """Puts a backup into the database and the store at hand, brings it up to this version, and queues again what was running.

    `replace`: what is there is deleted. Raises BackupError; then nothing has changed.
    """
    say(f"checking {path}")
    manifest = check(path)
    _check_migrations(manifest)
    if not replace:
        _refuse_to_overwrite()
    say(
        f"made by Stillhouse {manifest.version} on {manifest.made_at}: {sum(manifest.rows.values()):,} rows, {manifest.store_files:,} files"
    )
    with _staged(path, say) as fresh:
        try:
            with transaction.atomic():
                _make_tables(manifest)
                _fill(path, manifest, say)
                _renew(manifest)
                given = lifecycle.give_back_all(WHO, f"Restored from the backup of {manifest.made_at}.")
                with connection.cursor() as cursor:
                    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what the rows lack is said now, before the files move
                fresh.take_place()
        except BaseException as error:
            fresh.give_way()
            if isinstance(error, DatabaseError | psycopg.Error):
                raise BackupError(f"The database refused the backup, and nothing was changed: {str(error).strip()}") from error
            raise
    say(f"{len(given)} runs that were running are queued again")
    ContentType.objects.clear_cache()
    call_command("migrate", verbosity=0)
    return manifest


def _check_migrations(manifest: Manifest) -> None:
    known = MigrationExecutor(connection).loader.disk_migrations
    newer = [f"{app}.{name}" for app, name in manifest.migrations if (app, name) not in known]
    if newer:
        raise BackupError(
            f"The backup is of another Stillhouse ({manifest.version}): it has {newer[0]}, which this one lacks. Update the code."
        )


def _refuse_to_overwrite() -> None:
    used = [name for name in tables.columns_of_tables() if not name.startswith(NOBODYS) and _has_rows(name)]
    if used:
        raise BackupError(
            f"The database is in use: {used[0]} has rows. Restore into an empty one, or say --replace to delete what is there."
        )
    store = Path(settings.STORE)
    if store.is_dir() and any(not entry.name.startswith(".") for entry in store.iterdir()):
        raise BackupError(f"The store {store} is not empty. Restore into an empty one, or say --replace to delete what is there.")


def _has_rows(table: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT EXISTS (SELECT 1 FROM {})").format(sql.Identifier(table)))
        (found,) = cursor.fetchone() or (False,)
    return bool(found)


class _Staged:
    """Files on their way into the store: in a folder of it, then in their place, with what was there moved aside until all is well."""

    def __init__(self, store: Path) -> None:
        self.folder = store / f".restore-{os.getpid()}-{time.time_ns()}"
        self._store, self._aside = store, store / f".replaced-{os.getpid()}-{time.time_ns()}"
        self._placed: list[Path] = []

    def take_place(self) -> None:
        self._aside.mkdir(mode=0o700)
        for entry in list(self._store.iterdir()):
            if entry not in {self.folder, self._aside}:
                entry.rename(self._aside / entry.name)
        for entry in list(self.folder.iterdir()):
            self._placed.append(entry.rename(self._store / entry.name))

    def give_way(self) -> None:
        """As it was."""
        for entry in self._placed:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for entry in list(self._aside.iterdir()) if self._aside.is_dir() else ():
            entry.rename(self._store / entry.name)

    def clear(self) -> None:
        for folder in (self.folder, self._aside):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _staged(path: Path, say: Say) -> Iterator[_Staged]:
    """The backup's files, durable, in a folder of the store."""
    store = Path(settings.STORE)
    fresh = _Staged(store)
    try:
        try:
            fresh.folder.mkdir(parents=True, mode=0o700)
            store.chmod(0o700)
            _unpack(path, fresh.folder)
            os.sync()
        except OSError as error:
            raise BackupError(f"The store {store} can't take the files: {error.strerror or error}. Nothing was changed.") from error
        say("the store's files are unpacked")
        yield fresh
    finally:
        fresh.clear()


def _unpack(path: Path, folder: Path) -> None:
    for info, file in members(path):
        if info.name.startswith(f"{STORE}/"):
            target = folder / info.name.removeprefix(f"{STORE}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as output:
                shutil.copyfileobj(file, output, PIECE)


def _make_tables(manifest: Manifest) -> None:
    """The schema as the backup's migrations make it. In the transaction at hand: what was there is back when that fails."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '30s'")  # somebody uses the tables that are to go
        for table in connection.introspection.table_names(cursor):
            cursor.execute(sql.SQL("DROP TABLE {} CASCADE").format(sql.Identifier(table)))
        cursor.execute(
            "SELECT format('DROP FUNCTION %I(%s) CASCADE', proname, pg_get_function_identity_arguments(oid)) FROM pg_proc"
            " WHERE pronamespace = current_schema()::regnamespace AND prokind = 'f'"
            " AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')"
        )
        for (statement,) in cursor.fetchall():
            cursor.execute(statement)
    executor = MigrationExecutor(connection)
    executor.migrate(_newest(executor, manifest.migrations))
    tables.empty(list(tables.columns_of_tables()))
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")  # rows come in the order of their tables' names


def _newest(executor: MigrationExecutor, applied: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of the applied migrations that no other applied one of their app builds on."""
    mine = set(applied)
    nodes = executor.loader.graph.node_map
    return [key for key in sorted(mine) if not any(child.key in mine and child.key[0] == key[0] for child in nodes[key].children)]


def _fill(path: Path, manifest: Manifest, say: Say) -> None:
    here = tables.columns_of_tables()
    for table, columns in manifest.tables.items():
        if missing := set(columns) - set(here.get(table, [])):
            raise BackupError(
                f"The backup has {table}.{min(missing)}, which its migrations don't make. It was made by a changed Stillhouse."
            )
    for info, file in members(path):
        if match := TABLE_MEMBER.fullmatch(info.name):
            tables.load(match["table"], manifest.tables[match["table"]], file.read())
    tables.go_on_counting(list(manifest.tables))
    say(f"{len(manifest.tables)} tables are filled")


def _renew(manifest: Manifest) -> None:
    """What a running run wrote anew while the backup was made: its row says what its file is."""
    for key, (size, sha) in manifest.renewed.items():
        Artifact.objects.filter(pk=key).update(bytes=size, sha256=sha)
