"""Whether a folder is the store that web and workers share: a file in it holds a text that the database knows.

A volume that was not mounted is an empty folder of the same name, into which everything can be written and nothing is found again. So the
first worker that ever comes writes a marker and tells the database, and each other one must find it. `manage.py adopt_store` says that another
folder is the store from now on.
"""

import errno
import os
import re
import secrets
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from uuid import UUID

from webapp.fleet.models import StoreMarker

MARKER = ".stillhouse-store"
TEXT = re.compile(r"[0-9a-f]{32}")


def problem_of(store: Path, who: UUID) -> str:
    """Why the folder can't be used as the store, to be read after `but`; empty when it can: the marker is there, and `who` has written and read a file."""
    try:
        return _problem_of_marker(store) or _problem_of_writing(store / f".proof-{who}")
    except OSError as error:
        return f"its store does not work: {error.strerror or error}"


def holds(store: Path, text: str) -> bool:
    """Whether the folder has this marker. Quick: asked before each claim."""
    with suppress(OSError):
        return _read(store / MARKER) == text
    return False


def make_folder(store: Path, relative: str, text: str | None) -> None:
    """Makes a folder, and those around it, in the store that has this marker, and in no other: where the store is unmounted meanwhile, the folder
    is not made at its place. Without a text any folder is the store. Raises OSError."""
    place = os.open(store, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if text is not None and _read(store / MARKER, within=place) != text:
            raise FileNotFoundError(errno.ENOENT, "the store is not mounted", str(store))
        parts = PurePosixPath(relative).parts
        for count in range(1, len(parts) + 1):
            with suppress(FileExistsError):
                os.mkdir(PurePosixPath(*parts[:count]), dir_fd=place)
    finally:
        os.close(place)


def known() -> str | None:
    """The text that the database knows; None before the first worker."""
    return StoreMarker.objects.values_list("text", flat=True).first()


def adopt(store: Path) -> None:
    """Makes the folder the store, whatever was it before. Workers of the old one take no runs any more."""
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = _read(store / MARKER) or _write(store / MARKER)
    StoreMarker.objects.update_or_create(pk=1, defaults={"text": text})


def _problem_of_marker(store: Path) -> str:
    text = known()
    if text is None:
        text = _introduce(store)
    found = _read(store / MARKER)
    if found is None:
        return f"its store lacks the file {MARKER}, so it may not be mounted"
    if found != text:
        return f"its store is not the one that the database knows: their {MARKER} differ"
    return ""


def _introduce(store: Path) -> str:
    """The first worker of a database tells it of its store. Of two that come at once, the database believes one."""
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    marker, found = store / MARKER, _read(store / MARKER)
    mine = found or _write(marker)
    StoreMarker.objects.bulk_create([StoreMarker(text=mine)], ignore_conflicts=True)
    believed = StoreMarker.objects.values_list("text", flat=True).get()
    if believed != mine and found is None:
        marker.unlink()
    return believed


def _problem_of_writing(proof: Path) -> str:
    text = secrets.token_hex(16)
    try:
        with proof.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return "" if proof.read_text() == text else "its store does not keep what is written there"
    except OSError as error:
        return f"its store can't be written: {error.strerror or error}"
    finally:
        with suppress(OSError):
            proof.unlink(missing_ok=True)


def _read(marker: Path, *, within: int | None = None) -> str | None:
    """The text of a marker; None where there is none, or no whole one. `within`: the opened store."""
    try:
        with open(marker if within is None else marker.name, errors="replace", opener=partial(os.open, dir_fd=within)) as file:
            text = file.read().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return text if TEXT.fullmatch(text) else None


def _write(marker: Path) -> str:
    """Makes a marker, whole or not at all, and returns its text, or that of whoever was faster."""
    text = secrets.token_hex(16)
    fresh = marker.with_name(f"{marker.name}-{text}")
    try:
        with fresh.open("x") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if marker.exists() and _read(marker) is None:
            marker.unlink(missing_ok=True)  # begun on a disk that was full, and of no use to anybody
        _name(fresh, marker)
    finally:
        fresh.unlink(missing_ok=True)
    return _read(marker) or text


def _name(fresh: Path, marker: Path) -> None:
    """Gives the new file the marker's name, unless there is a marker."""
    try:
        os.link(fresh, marker)
    except FileExistsError:
        pass
    except OSError:  # a file system without second names
        if not marker.exists():
            fresh.rename(marker)
