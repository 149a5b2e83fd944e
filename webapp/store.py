"""The artifact store: a folder that nothing may lead out of, and whose files may hold anything, or be no files at all.

A run's child writes below `runs/<id>`, so what lies there is the run's word alone: a link may name another run's files or a machine's, a
pipe never ends, a device is no file. Whoever reads asks here. A hard link is a file like any other: the account that made it could as well
have copied what it names.
"""

import json
import logging
import os
import shutil
import stat
from pathlib import Path, PurePosixPath
from typing import IO, Any
from uuid import UUID

from django.conf import settings
from django.http import Http404

RUNS = "runs"
CHECKPOINT_FILES = ("state.json", "tensors.safetensors")
"""What the folder of a whole checkpoint holds."""

OWN = 0o700
"""The store's mode: its account, and nobody else."""

log = logging.getLogger(__name__)


def run_folder(run_id: UUID) -> str:
    """The folder of one run, relative to the store."""
    return f"{RUNS}/{run_id}"


def path_in_store(relative: str) -> Path:
    """The absolute path of a store-relative one, which need not exist.

    Raises ValueError for the store itself and for what leads out of it, by `..`, a root, or a symbolic link, and for a link that leads from
    one run's folder to another's. Web and workers ask here.
    """
    store = Path(settings.STORE).resolve()
    try:
        path = (store / relative).resolve()
    except (ValueError, RuntimeError, OSError):  # a NUL in the name, a loop of links
        raise ValueError(f"{relative!r} is no path") from None
    if path == store or not path.is_relative_to(store):
        raise ValueError(f"{relative!r} is not in the store")
    if not path.is_relative_to(store / _home(relative)):
        raise ValueError(f"{relative!r} leads out of its folder of the store")
    return path


def _home(relative: str) -> PurePosixPath:
    """The folder that a link may not lead out of: the run's, elsewhere the outermost."""
    parts = PurePosixPath(relative).parts
    return PurePosixPath(*parts[: 2 if parts[0] == RUNS else 1])


def existing(relative: str) -> Path:
    """The file or folder at a store-relative path. Raises Http404 for one that is missing, outside the store, a pipe or a device."""
    try:
        path = path_in_store(relative).resolve(strict=True)
        mode = path.stat().st_mode
    except (ValueError, OSError):
        raise Http404("This file is not in the store.") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise Http404("This file is not in the store.")
    return path


def opened(path: Path) -> IO[bytes]:
    """A file that was found in the store, to read. Raises OSError where since then a part of its path was replaced by a link, or it by a
    pipe or a device: no part is followed, and opening does not wait for a writer."""
    *folders, name = path.parts[1:]
    place = os.open(path.anchor, _PLACE)
    try:
        for folder in folders:
            outer, place = place, os.open(folder, _PLACE | os.O_NOFOLLOW, dir_fd=place)
            os.close(outer)
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
    finally:
        os.close(place)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(f"{path} is no file that can be read")
    return os.fdopen(file, "rb")


_PLACE = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""Where the system can, a folder is opened as a place alone, which asks for no right to list it."""


def link_checkpoint(folder: Path, into: Path) -> None:
    """Gives the files of a checkpoint second names in the new folder `into`. Raises FileNotFoundError, leaving nothing, when the checkpoint has gone,
    or is going: whoever deletes it takes one file after the other, and a folder that is read just then has some of them, or none."""
    try:
        shutil.copytree(folder, into, copy_function=second_name)
        for name in CHECKPOINT_FILES:
            (into / name).stat()
    except (FileNotFoundError, shutil.Error) as error:
        shutil.rmtree(into, ignore_errors=True)
        raise FileNotFoundError(str(error)) from error


def second_name(source: str, target: str) -> str:
    """Gives a file a second name, which costs no space: a hard link, or a copy where the store's file system has none. For `shutil.copytree`."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, target)
    return target


def close_to_others() -> str | None:
    """Makes the store if there is none, and closes it to every other account: called at the start of web and workers. The sentence that the
    operator needs where it can't be done."""
    store = Path(settings.STORE)
    try:
        store.mkdir(mode=OWN, parents=True, exist_ok=True)
        if stat.S_IMODE(store.stat().st_mode) != OWN:
            store.chmod(OWN)
        why = "" if stat.S_IMODE(store.stat().st_mode) == OWN else "its file system keeps no modes"
    except OSError as error:
        why = str(error.strerror)
    if not why:
        return None
    sentence = f"The store {store} can't be closed to other accounts ({why}); let the account that runs Stillhouse own it, mode 0700."
    log.warning(sentence)
    return sentence


def parsed(text: bytes) -> Any:
    """JSON from a file: halves of characters, which no page can show, are replaced, NaN and infinity are words.

    Raises ValueError or RecursionError.
    """
    content = json.loads(text, parse_constant=str)
    if b"\\ud" not in text.lower():
        return content
    return json.loads(json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"))
