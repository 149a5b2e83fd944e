"""A backup's file, read from its start to its end and checked before anything is believed."""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from webapp.operate.backup.archive import MANIFEST, PIECE, SEAL, STORE, TABLE_MEMBER, BackupError, Hashing, Manifest


def check(path: Path) -> Manifest:
    """The manifest of a whole backup. Raises BackupError for one that is truncated, damaged, or no backup."""
    found: dict[str, tuple[int, str]] = {}
    body = seal = b""
    with _readable(path):
        for info, file in members(path):
            if info.name == MANIFEST:
                body = file.read()
            elif info.name == SEAL:
                seal = file.read()
            else:
                found[_allowed(info.name, path)] = _sum_of(file)
    if not seal:
        raise BackupError(f"{path} is not whole: its end is missing. Restore another backup.")
    if hashlib.sha256(body).hexdigest().encode() != seal:
        raise BackupError(f"{path} is damaged: its manifest was changed after it was written. Restore another backup.")
    manifest = Manifest.parse(json.loads(body))
    for name in sorted(found.keys() | manifest.members.keys()):
        if found.get(name) != manifest.members.get(name):
            raise BackupError(f"{path} is damaged: {name} is not as it was written. Restore another backup.")
    return manifest


def members(path: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """Each member with its content, in order. Raises BackupError for a link, and what `tarfile` raises."""
    with path.open("rb") as whole, tarfile.open(fileobj=whole, mode="r|") as archive:
        for info in archive:
            file = archive.extractfile(info) if info.isreg() else None
            if file is None:
                raise BackupError(f"{path} is no backup of Stillhouse: {info.name!r:.120} is not a file.")
            yield info, file


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Around what reads the file. Raises BackupError for what is no archive, or ends too early."""
    try:
        yield
    except (tarfile.TarError, EOFError) as error:
        raise BackupError(f"{path} can't be read as a backup: {error}. Is it the file that manage.py backup wrote, and whole?") from None
    except OSError as error:
        raise BackupError(f"{path} can't be read: {error.strerror or error}.") from None


def _allowed(name: str, path: Path) -> str:
    """A name that leads nowhere else than where it belongs. Raises BackupError."""
    parts = PurePosixPath(name)
    in_store = parts.parts[:1] == (STORE,) and len(parts.parts) > 1 and ".." not in parts.parts and str(parts) == name
    if in_store or TABLE_MEMBER.fullmatch(name):
        return name
    raise BackupError(f"{path} is no backup of Stillhouse: it has a member {name!r:.120}.")


def _sum_of(file: IO[bytes]) -> tuple[int, str]:
    reading = Hashing(file)
    while reading.read(PIECE):
        pass
    return reading.bytes, reading.sha256
