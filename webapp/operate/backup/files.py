"""Which files of the store belong into a backup, and how those that may go meanwhile are held.

Of what a row names, only a running run's checkpoint is ever removed by anyone but retention, which waits (store_lock.py): its worker deletes
it when the next one is registered. So checkpoints get second names, which costs no space, right after the snapshot. An artifact of a running
run may be written anew under its name, as a whole: then its file is newer than its row, and the manifest has what the row will say.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from webapp.fleet.store import MARKER
from webapp.operate.inventory import Recorded, checkpoints, main_file, recorded
from webapp.store import link_checkpoint, path_in_store


@dataclass(frozen=True)
class StoreFile:
    """A file to be copied: `path` is where it is, `name` where it belongs in the store."""

    path: Path
    name: str
    row: Recorded | None = None


def hold_checkpoints(into: Path) -> bool:
    """Gives the files of every run's checkpoint a second name below `into`. False when one has gone since the snapshot: take a new one.

    A checkpoint of an ended run that is missing is no reason to try again: nobody has deleted it just now.
    """
    for one in checkpoints():
        try:
            link_checkpoint(path_in_store(one.path), into / one.path)
        except FileNotFoundError:
            if one.under_way:
                return False
    return True


def sources(held: Path) -> tuple[list[StoreFile], list[str]]:
    """Every file that the snapshot's rows name, and what of it is missing."""
    found: list[StoreFile] = []
    missing: list[str] = []
    store, held = Path(settings.STORE).resolve(), held.resolve()
    marker = store / MARKER
    if marker.is_file():
        found.append(StoreFile(marker, MARKER))
    for row in recorded():
        files = list(_files_of(held if row.kind == "checkpoint" else store, row))
        found += files
        if not files:
            missing.append(row.path)
    return list({source.name: source for source in found}.values()), missing


def _files_of(root: Path, row: Recorded) -> Iterator[StoreFile]:
    """The files at or below what a row names; none where its path leads out of the store. Links are not followed: none belongs there."""
    path = root / row.path
    if not path.resolve().is_relative_to(root):
        return
    main = main_file(path, row.kind)
    for each in [path] if path.is_file() else sorted(path.rglob("*")):
        if each.is_file() and not each.is_symlink():
            yield StoreFile(each, each.relative_to(root).as_posix(), row if each == main else None)
