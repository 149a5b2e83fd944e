"""Database and store → one file, while everything goes on."""

import hashlib
import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from django.conf import settings
from django.db import connection, transaction
from django.db.migrations.recorder import MigrationRecorder

from webapp.operate.backup import tables
from webapp.operate.backup.archive import DATABASE, MANIFEST, SEAL, STORE, BackupError, Hashing, Manifest, Say
from webapp.operate.backup.files import StoreFile, hold_checkpoints, sources
from webapp.operate.store_lock import nothing_is_removed
from webapp.operate.version import version

SNAPSHOTS = 100
"""How often a snapshot is tried again because a run's checkpoint gave way to the next one in between: each takes milliseconds."""

SAY_EVERY = 2.0


def write_to(path: Path, say: Say) -> Manifest:
    """Makes the backup `path`: under another name first, made durable, then renamed. Raises BackupError, also when the file exists already."""
    if path.exists():
        raise BackupError(f"{path} exists already; choose another name, a backup is never overwritten.")
    if not path.parent.is_dir():
        raise BackupError(f"There is no folder {path.parent}; make it first.")
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("xb") as file:
            partial.chmod(0o600)  # it holds hashes of passwords, and sessions
            manifest = write(file, say)
            file.flush()
            os.fsync(file.fileno())
        _take_name(partial, path)
    except OSError as error:
        raise BackupError(f"{path} could not be written: {error.strerror or error}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return manifest


def write(file: IO[bytes], say: Say) -> Manifest:
    """Writes a backup to a stream. Raises BackupError, or OSError from the stream."""
    with nothing_is_removed(), _place_in_store() as held, tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        with _snapshot(held, say):
            manifest = _begun()
            _write_tables(archive, manifest, say)
            files, manifest.missing = sources(held)
        for name in manifest.missing:
            say(f"warning: {name} is missing from the store, though a row names it")
        _write_files(archive, manifest, files, say)
        body = json.dumps(asdict(manifest), separators=(",", ":")).encode()
        _add(archive, MANIFEST, body)
        _add(archive, SEAL, hashlib.sha256(body).hexdigest().encode())
    return manifest


@contextmanager
def _place_in_store() -> Iterator[Path]:
    """A folder on the store's own disk, where files can have second names."""
    store = Path(settings.STORE)
    try:
        store.mkdir(parents=True, exist_ok=True)
        held = store / f".backup-{os.getpid()}-{time.time_ns()}"
        held.mkdir(mode=0o700)
    except OSError as error:
        raise BackupError(f"The store {store} can't be written to: {error.strerror}. A backup needs a folder of its own there.") from error
    try:
        yield held
    finally:
        shutil.rmtree(held, ignore_errors=True)


@contextmanager
def _snapshot(held: Path, say: Say) -> Iterator[None]:
    """A transaction that sees the database at one moment, whose checkpoints are all held."""
    for _ in range(SNAPSHOTS):
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            if hold_checkpoints(held):
                yield
                return
        shutil.rmtree(held)
        held.mkdir(mode=0o700)
        say("a checkpoint gave way to the next one; taking another snapshot")
    raise BackupError(f"In {SNAPSHOTS} snapshots a running run's checkpoint was missing each time; look with manage.py check_store.")


def _begun() -> Manifest:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        (server,) = cursor.fetchone() or ("",)
    return Manifest(
        version=version(),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        postgresql=server,
        migrations=sorted(MigrationRecorder(connection).applied_migrations()),
        tables=tables.columns_of_tables(),
    )


def _write_tables(archive: tarfile.TarFile, manifest: Manifest, say: Say) -> None:
    tell = _now_and_then(say)
    for place, (table, columns) in enumerate(manifest.tables.items(), 1):
        manifest.rows[table] = 0
        for number, (chunk, rows) in enumerate(tables.chunks_of(table, columns)):
            name = f"{DATABASE}/{table}/{number:06d}.copy.gz"
            _add(archive, name, chunk)
            manifest.members[name] = (len(chunk), hashlib.sha256(chunk).hexdigest())
            manifest.rows[table] += rows
            tell(f"table {place} of {len(manifest.tables)}: {sum(manifest.rows.values()):,} rows")
    say(f"{len(manifest.tables)} tables, {sum(manifest.rows.values()):,} rows")


def _write_files(archive: tarfile.TarFile, manifest: Manifest, files: list[StoreFile], say: Say) -> None:
    tell = _now_and_then(say)
    total = 0
    for place, source in enumerate(files, 1):
        try:
            file = source.path.open("rb")
        except OSError as error:
            manifest.missing.append(source.name)
            say(f"warning: {source.name} can't be read: {error.strerror}")
            continue
        with file:
            size, sha = _add_file(archive, f"{STORE}/{source.name}", file)
        manifest.members[f"{STORE}/{source.name}"] = (size, sha)
        if (
            source.row is not None
            and source.row.artifact_id
            and source.row.under_way
            and (size, sha) != (source.row.bytes, source.row.sha256)
        ):
            manifest.renewed[str(source.row.artifact_id)] = (size, sha)
        total += size
        tell(f"file {place:,} of {len(files):,}: {total:,} bytes")
    say(f"{manifest.store_files:,} files of the store, {total:,} bytes")


def _add(archive: tarfile.TarFile, name: str, body: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(body)
    archive.addfile(info, io.BytesIO(body))


def _add_file(archive: tarfile.TarFile, name: str, file: IO[bytes]) -> tuple[int, str]:
    info = tarfile.TarInfo(name)
    info.size = os.fstat(file.fileno()).st_size
    reading = Hashing(file)
    archive.addfile(info, reading)
    return reading.bytes, reading.sha256


def _take_name(partial: Path, path: Path) -> None:
    """The final name, unless somebody has taken it meanwhile."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise BackupError(f"{path} exists already; choose another name, a backup is never overwritten.") from None
    except OSError:  # a file system without hard links
        partial.rename(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _now_and_then(say: Say) -> Callable[[str], None]:
    """Says a line only when the last one is SAY_EVERY seconds old."""
    last = time.monotonic()

    def tell(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= SAY_EVERY:
            last = time.monotonic()
            say(line)

    return tell
