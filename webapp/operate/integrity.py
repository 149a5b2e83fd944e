"""Whether the store holds what the database says, and nothing else. Reads a batch of rows and one folder at a time."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.http import Http404

from webapp.operate import inventory
from webapp.operate.inventory import Recorded
from webapp.store import existing


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be. `kind`: missing, truncated, changed, orphaned or unknown; only the first three have lost something."""

    kind: str
    path: str
    sentence: str


LOST = ("missing", "truncated", "changed")


def findings(*, deep: bool = False) -> Iterator[Finding]:
    """All that is wrong. `deep` also reads every file and compares its SHA-256."""
    for row in inventory.recorded():
        yield from _looked_at(row, deep=deep)
    for found in inventory.unnamed():
        yield Finding("orphaned", str(found.path), f"no row names it; {found.bytes:,} bytes, which retention removes after a day")
    for path in inventory.unknown():
        yield Finding("unknown", str(path), "it is not Stillhouse's; move it out of the store, or delete it")


def _looked_at(row: Recorded, *, deep: bool) -> Iterator[Finding]:
    try:
        path = existing(row.path)
    except Http404:
        yield Finding("missing", row.path, f"{row.kind} of run {row.run_id}")
        return
    try:
        if row.kind == "checkpoint":
            yield from _compared(path / "tensors.safetensors", *inventory.seal_of(path), row, deep=deep)
        else:
            assert row.bytes is not None and row.sha256 is not None
            yield from _compared(inventory.main_file(path, row.kind), row.bytes, row.sha256, row, deep=deep)
    except ValueError as error:
        yield Finding("changed", row.path, f"{row.kind} of run {row.run_id}: {error}")


def _compared(file: Path, size: int, sha256: str, row: Recorded, *, deep: bool) -> Iterator[Finding]:
    """A file of a run under way may be newer than its row."""
    about = f"{row.kind} of run {row.run_id}"
    if not file.is_file():
        yield Finding("missing", row.path, f"{about}: {file.name} is not there")
    elif row.kind != "checkpoint" and row.under_way:
        return
    elif (found := file.stat().st_size) != size:
        yield Finding("truncated" if found < size else "changed", row.path, f"{about}: {file.name} has {found:,} bytes, not {size:,}")
    elif deep and _sha256(file) != sha256:
        yield Finding("changed", row.path, f"{about}: {file.name} is not what it was when it was written")


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
