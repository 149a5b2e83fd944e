"""An artifact as a stream of bytes: a file as it is, a folder as a zip archive, never more than a block of it in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zipstream import ZipStream

from webapp.runs.models import Artifact
from webapp.store import existing, opened

BLOCK = 1024 * 1024


@dataclass(frozen=True)
class Content:
    """What is sent: under which name, how many bytes (`size`), in which pieces."""

    name: str
    size: int
    chunks: Iterator[bytes]


def content_of(artifact: Artifact) -> Content:
    """Raises Http404 when the artifact's path is missing, leads out of the run's folder, or is neither file nor folder."""
    path = existing(artifact.path)
    name = f"{artifact.run_id}-{Path(artifact.path).name}"
    if path.is_file():
        return Content(name, path.stat().st_size, _blocks(path))
    archive = _archive(path)
    return Content(f"{name}.zip", len(archive), iter(archive))


def files_of(folder: Path) -> list[Path]:
    """Every file in the folder, by name. Links, which may lead anywhere, pipes and devices are left out."""
    found = sorted(folder.rglob("*"))
    return [file for file in found if not file.is_symlink() and file.is_file() and file.resolve().is_relative_to(folder)]


def _archive(folder: Path) -> ZipStream:
    """The folder's files, not compressed: weights hardly shrink, and so the archive's size is known before it is made."""
    archive = ZipStream(sized=True)
    for file in files_of(folder):
        archive.add(_blocks(file), f"{folder.name}/{file.relative_to(folder).as_posix()}", size=file.stat().st_size)
    return archive


def _blocks(path: Path) -> Iterator[bytes]:
    with opened(path) as file:
        while block := file.read(BLOCK):
            yield block
