"""A run's files on disk: durable or not there, and where one could not be written a sentence that says why, and what would be needed."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.filesize import decimal
from safetensors import SafetensorError

from engine.errors import StorageError

FULL = {errno.ENOSPC, errno.EDQUOT}
PROBE = ".probe"


@contextmanager
def writing(what: str, folder: Path, *, needed: int) -> Iterator[None]:
    """Around what writes about `needed` bytes below `folder`. Raises StorageError, which begins with `what`, for all that a disk can refuse.
    safetensors has an error of its own for what Python calls OSError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        code = _code_of(error)
        if code in FULL:
            raise StorageError(
                f"{what} could not be written: no room on the store, {decimal(needed)} needed{_free(folder)}.", full=True
            ) from error
        if code == errno.ENOENT:
            raise StorageError(f"{what} could not be written: the folder {folder} has gone; is its disk still mounted?") from error
        raise StorageError(f"{what} could not be written: {os.strerror(code) if code else error}.") from error


def try_out(folder: Path) -> None:
    """Makes the folder of a run, but not those around it, and writes a byte there, so that a run does not train for nothing.

    Raises StorageError. Where a disk is no longer mounted, what is around the folder is missing, and what would be written is lost.
    """
    with writing(f"The run's folder {folder}", folder.parent, needed=1):
        folder.mkdir(exist_ok=True)
        probe = folder / f"{PROBE}-{os.getpid()}"
        try:
            probe.write_bytes(b"0")
            fsync(probe)
        finally:
            probe.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, what: str) -> None:
    """Makes `path` hold the text, durably and all at once. Raises StorageError."""
    partial = path.with_name(f".partial-{path.name}")
    with writing(what, path.parent, needed=len(text)):
        try:
            partial.write_text(text, encoding="utf-8")
            fsync(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def fsync(path: Path) -> None:
    """Flushes a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _code_of(error: OSError | SafetensorError) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def _free(folder: Path) -> str:
    """`, 3.1 MB free`; nothing where even that can't be asked."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return f", {decimal(shutil.disk_usage(folder).free)} free"
    except OSError:
        return ""
