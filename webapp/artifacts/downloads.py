"""An artifact as a stream of bytes: a file as it is, a folder as a tar archive, never more than a block of it in memory."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from webapp.artifacts import store
from webapp.runs.models import Artifact

BLOCK = 1024 * 1024


@dataclass(frozen=True)
class Content:
    """What is sent: under which name, how many bytes (`size`), in which pieces."""

    name: str
    size: int
    chunks: Iterator[bytes]


def content_of(artifact: Artifact) -> Content:
    """Raises Http404 when the artifact's path is missing or leads out of the store."""
    path = store.resolve(artifact.path)
    name = f"{artifact.run_id}-{Path(artifact.path).name}"
    if path.is_file():
        return Content(name, path.stat().st_size, _blocks(path))
    members = _members(path)
    size = sum(len(header) + file.stat().st_size + _padding(file) for header, file in members) + 2 * tarfile.BLOCKSIZE
    return Content(f"{name}.tar", size, _archive(members))


def files_of(folder: Path) -> list[Path]:
    """Every file in the folder, by name. A link is left out: it may lead anywhere."""
    found = sorted(folder.rglob("*"))
    return [file for file in found if not file.is_symlink() and file.is_file() and file.resolve().is_relative_to(folder)]


def _members(folder: Path) -> list[tuple[bytes, Path]]:
    """Header and path of every file in the folder, by name."""
    members = []
    for file in files_of(folder):
        info = tarfile.TarInfo(f"{folder.name}/{file.relative_to(folder).as_posix()}")
        info.size, info.mtime, info.mode = file.stat().st_size, int(file.stat().st_mtime), 0o644
        members.append((info.tobuf(tarfile.PAX_FORMAT), file))
    return members


def _archive(members: list[tuple[bytes, Path]]) -> Iterator[bytes]:
    for header, file in members:
        yield header
        yield from _blocks(file)
        if padding := _padding(file):
            yield bytes(padding)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _padding(file: Path) -> int:
    """Bytes that fill a file's last block of the archive."""
    return -file.stat().st_size % tarfile.BLOCKSIZE


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block
