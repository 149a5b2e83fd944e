"""Checkpoints on disk: a folder with `tensors.safetensors` and `state.json`. Never pickle.

Written beside its final name, fsynced and renamed, so a folder with a final name is whole; read with lengths and hashes checked, so one
that was damaged later is refused with a sentence. The training thread only copies tensors; a thread of its own writes.
"""

import hashlib
import json
import os
import queue
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import CheckpointError

FORMAT = 1
FOLDER = "checkpoints"
KEPT = 2
PREFIX = "step-"


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment: `state` is JSON, `tensors` are copies on the CPU by the names that `state` refers to."""

    step: int
    state: dict[str, Any]
    tensors: dict[str, Tensor]


def write(snapshot: Snapshot, folder: Path) -> Path:
    """Makes a snapshot durable under `folder`, drops all but the newest two, and returns where it is. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{PREFIX}{snapshot.step:09d}"
    partial = folder / f".partial-{snapshot.step:09d}"
    shutil.rmtree(partial, ignore_errors=True)
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
    for old in sorted(folder.glob(f"{PREFIX}*"))[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return final


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
    return max((workdir / FOLDER).glob(f"{PREFIX}*"), default=None)


def delete_after(workdir: Path, step: int) -> None:
    """Deletes the checkpoints of steps after `step`: a run that is resumed or restarted there will make those steps again."""
    for folder in (workdir / FOLDER).glob(f"{PREFIX}*"):
        if int(folder.name.removeprefix(PREFIX)) > step:
            shutil.rmtree(folder, ignore_errors=True)


def fsync(path: Path) -> None:
    """Flushes a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


class Writer:
    """Writes snapshots one after the other on its own thread. Use as a context manager: leaving it waits for what was submitted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: queue.Queue[Snapshot | None] = queue.Queue(maxsize=1)
        self._done: queue.SimpleQueue[tuple[int, Path | OSError]] = queue.SimpleQueue()
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

    def finished(self) -> list[tuple[int, Path | OSError]]:
        """What became of submitted snapshots since the last call: step, and its folder or what went wrong."""
        found = []
        while not self._done.empty():
            found.append(self._done.get())
        return found

    def _work(self) -> None:
        while (snapshot := self._waiting.get()) is not None:
            try:
                self._done.put((snapshot.step, write(snapshot, self._folder)))
            except OSError as error:
                self._done.put((snapshot.step, error))
            finally:
                self._waiting.task_done()
        self._waiting.task_done()
