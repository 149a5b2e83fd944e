"""Checkpoints on disk: a folder with `tensors.safetensors` and `state.json`. Never pickle.

Written beside its final name, fsynced and renamed, so a folder with a final name is whole; read with lengths and hashes checked, so one
that was damaged later is refused with a sentence. The training thread only copies tensors; a thread of its own writes.
"""

import hashlib
import json
import queue
import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import CheckpointError, StorageError
from engine.run.storage import fsync, writing

FORMAT = 1
FOLDER = "checkpoints"
KEPT = 2
PREFIX = "step-"
NAME = re.compile(rf"{PREFIX}\d{{9,}}")


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment: `state` is JSON, `tensors` are copies on the CPU by the names that `state` refers to."""

    step: int
    state: dict[str, Any]
    tensors: dict[str, Tensor]


def write(snapshot: Snapshot, folder: Path) -> Path:
    """Makes a snapshot durable under `folder`, drops all but the newest two, and returns where it is. Where there is no room, the older one
    gives way first. Raises StorageError; those that were there then still are, but for what gave way."""
    try:
        return _write(snapshot, folder)
    except StorageError as error:
        older = folders_in(folder)[:-1]
        if not (error.full and older):
            raise
        _drop(older)
        return _write(snapshot, folder)


def _write(snapshot: Snapshot, folder: Path) -> Path:
    final = folder / f"{PREFIX}{snapshot.step:09d}"
    partial = folder / f".partial-{snapshot.step:09d}"
    needed = sum(tensor.nbytes for tensor in snapshot.tensors.values())
    with writing(f"The checkpoint of step {snapshot.step}", folder, needed=needed):
        try:
            shutil.rmtree(partial, ignore_errors=True)
            folder.mkdir(exist_ok=True)
            partial.mkdir()
            save_file(snapshot.tensors, partial / "tensors.safetensors")
            body = json.dumps({"step": snapshot.step, "tensors": _digest(partial / "tensors.safetensors"), **snapshot.state})
            sealed = {"format": FORMAT, "sha256": hashlib.sha256(body.encode()).hexdigest(), "body": body}
            (partial / "state.json").write_text(json.dumps(sealed), encoding="utf-8")
            for path in (partial / "tensors.safetensors", partial / "state.json", partial):
                fsync(path)
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            fsync(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    _drop(folders_in(folder)[:-KEPT])
    return final


def folders_in(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first: folders with a final name. What else lies there is nobody's."""
    return sorted(path for path in folder.glob(f"{PREFIX}*") if NAME.fullmatch(path.name) and path.is_dir())


def _drop(folders: list[Path]) -> None:
    for each in folders:
        shutil.rmtree(each, ignore_errors=True)


def read(folder: Path) -> Snapshot:
    """The snapshot in a checkpoint's folder. Raises CheckpointError when it is missing, truncated, changed, or of a newer format."""
    state_file, tensors_file = folder / "state.json", folder / "tensors.safetensors"
    for path in (state_file, tensors_file):
        if not path.is_file():
            raise CheckpointError(f"There is no checkpoint at {folder}: {path.name} is missing.")
    try:
        sealed = json.loads(state_file.read_text(encoding="utf-8"))
        version, body = sealed["format"], sealed["body"]
        whole = hashlib.sha256(body.encode()).hexdigest() == sealed["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"The checkpoint at {folder} is damaged: state.json can't be read; choose an earlier one.") from None
    if version != FORMAT:
        raise CheckpointError(f"The checkpoint at {folder} has format {version!r:.20}; this version reads format {FORMAT}.")
    if not whole:
        raise CheckpointError(f"The checkpoint at {folder} is damaged: state.json was changed after it was written; choose an earlier one.")
    state = json.loads(body)
    if _digest(tensors_file) != state.pop("tensors"):
        raise CheckpointError(
            f"The checkpoint at {folder} is damaged: tensors.safetensors is truncated or was changed; choose an earlier one."
        )
    try:
        return Snapshot(state.pop("step"), state, load_file(tensors_file))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"The checkpoint at {folder} is damaged: {error}") from None


def newest(workdir: Path) -> Path | None:
    """The newest checkpoint of a run's folder, or None."""
    return next(reversed(folders_in(workdir / FOLDER)), None)


def newest_whole(workdir: Path) -> tuple[tuple[Path, int] | None, list[str]]:
    """The newest checkpoint of a run's folder that is not damaged and its step, or None, and of each newer one the sentence that says what is
    wrong."""
    refusals: list[str] = []
    for folder in reversed(folders_in(workdir / FOLDER)):
        try:
            return (folder, read(folder).step), refusals
        except CheckpointError as error:
            refusals.append(str(error))
    return None, refusals


def delete_after(workdir: Path, step: int) -> None:
    """Deletes the checkpoints of steps after `step`: a run that is resumed or restarted there will make those steps again."""
    _drop([folder for folder in folders_in(workdir / FOLDER) if int(folder.name.removeprefix(PREFIX)) > step])


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


class Writer:
    """Writes snapshots one after the other on its own thread. Use as a context manager: leaving it waits for what was submitted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: queue.Queue[Snapshot | None] = queue.Queue(maxsize=1)
        self._done: queue.SimpleQueue[tuple[int, Path | Exception]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="checkpoint-writer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.put(None)
        self._thread.join()

    @property
    def busy(self) -> bool:
        """Whether an earlier snapshot is still on its way."""
        return self._waiting.unfinished_tasks > 0

    @property
    def has_finished(self) -> bool:
        """Whether `finished` has something to say. Cheap enough to ask at every step."""
        return not self._done.empty()

    def submit(self, snapshot: Snapshot) -> None:
        """Hands a snapshot over; waits only while another one is waiting."""
        self._waiting.put(snapshot)

    def flush(self) -> None:
        """Waits until all that was submitted is durable or has failed."""
        self._waiting.join()

    def finished(self) -> list[tuple[int, Path | Exception]]:
        """What became of submitted snapshots since the last call: step, and its folder or what went wrong."""
        found = []
        while not self._done.empty():
            found.append(self._done.get())
        return found

    def _work(self) -> None:
        while (snapshot := self._waiting.get()) is not None:
            try:
                self._done.put((snapshot.step, write(snapshot, self._folder)))
            except Exception as error:  # whatever it is, the training thread must hear of it and not wait for ever
                self._done.put((snapshot.step, error))
            finally:
                self._waiting.task_done()
        self._waiting.task_done()
