"""What a method leaves for people, in the run's folder: tables as JSON in `tables/`, tensors as safetensors in `tensors/`.

Each is reported as an `Artifact` when its file is complete. With several devices only the main process writes.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.errors import CheckpointError
from engine.events import Artifact, Event
from engine.run.export import file_sha256
from engine.run.process_group import is_main_process
from engine.run.storage import fsync, write_text, writing

ArtifactKind = Literal["table", "tensors"]
SUFFIX = ".safetensors"


class ArtifactWriter:
    """Writes the artifacts of one run. `names` are those that it has left so far, of tensors with their suffix: what a checkpoint remembers."""

    def __init__(self, workdir: Path, emit: Callable[[Event], None]) -> None:
        self._workdir, self._emit = workdir, emit
        self.names: list[str] = []

    def save_table(self, name: str, content: Any) -> None:
        """Writes JSON. Raises ValueError for NaN and infinity, which JSON does not have, and StorageError."""
        if not is_main_process():
            return
        text, path = json.dumps(content, allow_nan=False), self._path("table", name)
        write_text(path, text, what=f"The table {name}")
        self._report("table", name, path, {})

    def save_tensors(self, name: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Writes tensors by name with JSON facts about them. Raises ValueError for NaN and infinity among the facts, and
        StorageError."""
        if not is_main_process():
            return
        path = self._path("tensors", name)
        facts = {"shapes": {key: list(tensor.shape) for key, tensor in tensors.items()}, **meta}
        stored = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        partial = path.with_name(f".partial-{path.name}")
        with writing(f"The tensors {name}", path.parent, needed=sum(tensor.nbytes for tensor in stored.values())):
            try:
                save_file(stored, partial, {"meta": json.dumps(facts, allow_nan=False)})
                fsync(partial)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        self._report("tensors", name, path, facts)

    def take_over(self, names: list[str], earlier: Path) -> None:
        """Copies what the run left before it was interrupted, maybe in another folder, and reports it again. Raises CheckpointError for a file
        that is missing or damaged."""
        for name in names:
            kind: ArtifactKind = "tensors" if name.endswith(SUFFIX) else "table"
            name = name.removesuffix(SUFFIX)
            path = self._path(kind, name)
            source = earlier / path.relative_to(self._workdir)
            try:
                facts = facts_of(source) if kind == "tensors" else {}
                if kind == "table":
                    json.loads(source.read_text(encoding="utf-8"))
                if is_main_process():
                    if source.resolve() != path.resolve():
                        shutil.copyfile(source, path)
                    self._report(kind, name, path, facts)
            except (OSError, ValueError, SafetensorError) as error:
                raise CheckpointError(f"The artifact {name} that the run left in {earlier} can't be read: {error}.") from None

    def _path(self, kind: ArtifactKind, name: str) -> Path:
        assert name.replace("-", "").replace("_", "").isalnum(), f"an artifact's name has letters, digits, - and _; got {name!r}"
        path = self._workdir / (f"tables/{name}.json" if kind == "table" else f"tensors/{name}{SUFFIX}")
        with writing(f"The {kind} {name}", self._workdir, needed=1):
            path.parent.mkdir(exist_ok=True)
        return path

    def _report(self, kind: ArtifactKind, name: str, path: Path, facts: dict[str, Any]) -> None:
        self.names = sorted({*self.names, name if kind == "table" else path.name})
        file = path.relative_to(self._workdir).as_posix()
        reported = {key: value for key, value in facts.items() if key != "views"}  # these stand in the file, for the artifact's page
        self._emit(Artifact(name, kind, file, path.stat().st_size, file_sha256(path), reported))


def facts_of(path: Path) -> dict[str, Any]:
    """What was written beside the tensors of a file, from its head alone."""
    with safe_open(path, framework="pt") as file:
        facts: dict[str, Any] = json.loads((file.metadata() or {}).get("meta", "{}"))
    return facts
