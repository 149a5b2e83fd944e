"""What the database says is in the store, and what is there without its knowing. Rows and folders are read a batch at a time, so that a
hundred thousand files take no more memory than a hundred."""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from uuid import UUID

from django.conf import settings

from webapp.runs.models import ENDED, Artifact, Run
from webapp.store import RUNS

BATCH = 500
UNFINISHED = (".backup-", ".restore-", ".replaced-")
"""How folders at the root of the store begin that a backup or a restore works in: left there, it was killed."""

OWN_OUTPUT = "output.log"
CHECKPOINT_FOLDERS = ("kept", "checkpoints")


@dataclass(frozen=True)
class Recorded:
    """A file or folder that a row names. Of a checkpoint size and hash are not in the row but in its own state.json."""

    run_id: UUID
    path: str
    kind: str
    bytes: int | None = None
    sha256: str | None = None
    artifact_id: UUID | None = None
    under_way: bool = False


def recorded() -> Iterator[Recorded]:
    """All that rows name: artifacts, then the checkpoints that runs can go on from."""
    artifacts = Artifact.objects.order_by("pk").values_list("run_id", "path", "kind", "bytes", "sha256", "pk", "run__state")
    for run_id, path, kind, size, sha256, pk, state in artifacts.iterator(chunk_size=BATCH):
        yield Recorded(run_id, path, kind, size, sha256, pk, under_way=state not in ENDED)
    yield from checkpoints()


def checkpoints() -> Iterator[Recorded]:
    """The checkpoint of each run that has one."""
    rows = Run.objects.exclude(checkpoint_path="").order_by("pk").values_list("pk", "checkpoint_path", "state")
    for run_id, path, state in rows.iterator(chunk_size=BATCH):
        yield Recorded(run_id, path, "checkpoint", under_way=state not in ENDED)


def main_file(path: Path, kind: str) -> Path:
    """The file whose size and hash an artifact's row tells: of a model its weights, of anything else itself."""
    return path / "model.safetensors" if kind == "model" and path.is_dir() else path


def seal_of(checkpoint: Path) -> tuple[int, str]:
    """Size and SHA-256 of a checkpoint's tensors as its state.json has them. Raises ValueError for one that can't be read."""
    try:
        tensors = json.loads(json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))["body"])["tensors"]
        return int(tensors["bytes"]), str(tensors["sha256"])
    except (OSError, KeyError, TypeError, ValueError):
        raise ValueError(f"{checkpoint.name}/state.json can't be read") from None


@dataclass(frozen=True)
class Unnamed:
    """A file, or a whole folder, below the store that no row names. `changed_at` is seconds since the epoch, of the newest thing in it."""

    path: Path
    bytes: int
    changed_at: float


def unnamed() -> Iterator[Unnamed]:
    """What could go: folders of runs that no row knows, what ended runs left beside their artifacts, and what a killed backup or restore left."""
    store = Path(settings.STORE)
    for entry in _entries(store):
        if entry.name.startswith(UNFINISHED):
            yield _measured(Path(entry.path))
    folders = _entries(store / RUNS)
    while batch := list(islice(folders, BATCH)):
        yield from _unnamed_of_runs(batch)


def unknown() -> Iterator[Path]:
    """What lies at the root of the store and is neither Stillhouse's nor a run's. It is somebody's, and nobody here removes it."""
    for entry in _entries(Path(settings.STORE)):
        if entry.name not in {RUNS, "buffers"} and not entry.name.startswith("."):
            yield Path(entry.path)


def _unnamed_of_runs(batch: "list[os.DirEntry[str]]") -> Iterator[Unnamed]:
    ids = {entry.name: run_id for entry in batch if (run_id := _uuid(entry.name)) is not None}
    runs = {run.pk: run for run in Run.objects.filter(pk__in=ids.values()).only("pk", "state", "checkpoint_path")}
    named: dict[UUID, set[str]] = {}
    for run_id, path in Artifact.objects.filter(run__in=runs).values_list("run_id", "path"):
        named.setdefault(run_id, set()).add(path)
    for entry in batch:
        run = runs.get(ids[entry.name]) if entry.name in ids else None
        if run is None:
            yield _measured(Path(entry.path))
        elif run.state in ENDED and not run.checkpoint_path:  # what lies beside a checkpoint may be needed to go on from it
            yield from _unnamed_below(Path(entry.path), f"{RUNS}/{entry.name}", named.get(run.pk, set()))


def _unnamed_below(folder: Path, relative: str, named: set[str]) -> Iterator[Unnamed]:
    """The topmost things below a folder with nothing named in them."""
    for entry in _entries(folder):
        path = f"{relative}/{entry.name}"
        if path in named or entry.name == OWN_OUTPUT:
            continue
        if entry.is_dir(follow_symlinks=False) and _leads_to(path, named, entry.name):
            yield from _unnamed_below(Path(entry.path), path, named)
        else:
            yield _measured(Path(entry.path))


def _leads_to(path: str, named: set[str], name: str) -> bool:
    """Whether something named, or the child's output, lies in a folder."""
    return name.startswith("attempt-") or any(one.startswith(f"{path}/") for one in named)


def _measured(path: Path) -> Unnamed:
    found = [path.lstat(), *(each.lstat() for each in path.rglob("*"))]
    size = sum(about.st_size for about in found if not stat.S_ISDIR(about.st_mode))
    return Unnamed(path, size, max(about.st_mtime for about in found))


def _entries(folder: Path) -> "Iterator[os.DirEntry[str]]":
    """A folder's entries, one after the other; none where it is missing."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except FileNotFoundError:
        return


def _uuid(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
