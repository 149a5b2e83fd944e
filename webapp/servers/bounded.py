"""The logs of the embedded servers, which do not bound them: copied aside when they are full, and emptied where they lie.

Both append, so they go on at the beginning of the emptied file. Renaming would not do: PostgreSQL's output stays with the file that it was
given at its start.
"""

import os
import shutil
from pathlib import Path

MOST_BYTES = 10 * 2**20
"""Of the log, and again of the older one beside it."""


def keep_bounded(log: Path) -> None:
    """What is written between the copy and the emptying is lost."""
    if log.exists() and log.stat().st_size > MOST_BYTES:
        older = log.with_name(f"{log.name}.1")
        with log.open("rb") as full, older.open("wb") as aside:
            full.seek(-MOST_BYTES, os.SEEK_END)
            shutil.copyfileobj(full, aside)
        os.truncate(log, 0)
