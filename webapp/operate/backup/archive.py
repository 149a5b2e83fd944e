"""The archive's form: the names of its members, its manifest, and the errors of both directions."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

FORMAT = 1
MANIFEST, SEAL = "manifest.json", "manifest.sha256"
DATABASE, STORE = "database", "store"
TABLE_MEMBER = re.compile(r"database/(?P<table>[a-z][a-z0-9_]*)/\d{6}\.copy\.gz")
PIECE = 1024 * 1024

Say = Callable[[str], None]
"""Where progress is told, a line at a time."""


class BackupError(Exception):
    """A backup can't be made, read or restored. The message is a sentence for the operator."""


@dataclass
class Manifest:
    """What the archive holds. `members`: size and SHA-256 by name. `renewed`: artifacts of running runs whose file was newer than their row."""

    version: str
    made_at: str
    postgresql: str
    migrations: list[tuple[str, str]]
    tables: dict[str, list[str]]
    rows: dict[str, int] = field(default_factory=dict)
    members: dict[str, tuple[int, str]] = field(default_factory=dict)
    renewed: dict[str, tuple[int, str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    format: int = FORMAT

    @property
    def store_files(self) -> int:
        return sum(name.startswith(f"{STORE}/") for name in self.members)

    @property
    def bytes(self) -> int:
        return sum(size for size, _ in self.members.values())

    @classmethod
    def parse(cls, content: Any) -> "Manifest":
        """Raises BackupError for one of a newer form."""
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else content
            raise BackupError(
                f"The backup has the format {found!r:.40}; this version reads format {FORMAT}. Use the Stillhouse that made it."
            )
        pairs = {name: {key: (int(size), str(sha)) for key, (size, sha) in content[name].items()} for name in ("members", "renewed")}
        return cls(**{**content, **pairs, "migrations": [(app, name) for app, name in content["migrations"]]})


class Hashing:
    """A file that is read and hashed at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._sha, self.bytes = file, hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._sha.update(piece)
        self.bytes += len(piece)
        return piece

    @property
    def sha256(self) -> str:
        return self._sha.hexdigest()
