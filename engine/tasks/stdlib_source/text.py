"""The source of Python's standard library as three texts: every installation has it, and no file is in two of them."""

import hashlib
import sysconfig
import tokenize
from pathlib import Path

from engine.errors import DataError
from engine.tasks.stdlib_source.card import SIZES


def read(folder: Path | None = None) -> dict[str, str]:
    """train, validation and test, each cut to its size in `SIZES`, from a folder of modules: the library's own unless given.

    Of the modules in one file without an underscore in front, in the order of the SHA-256 of their names; a file's part follows from that hash
    as well, so it does not depend on which files there are. Raises DataError when they are too few.
    """
    found = dict.fromkeys(SIZES, "")
    for path in sorted((folder or Path(sysconfig.get_path("stdlib"))).glob("[!_]*.py"), key=place):
        split = part(path)
        if len(found[split]) < SIZES[split]:
            with tokenize.open(path) as file:
                found[split] += file.read()
    for split, size in SIZES.items():
        if len(found[split]) < size:
            raise DataError(
                f"The source of Python's standard library is not complete on this machine: {len(found[split])} of {size} characters for "
                f"{split}; install Python with its library as .py files."
            )
    return {split: found[split][:size] for split, size in SIZES.items()}


def place(path: Path) -> int:
    """Where a file stands, by its name alone."""
    return int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:8], "big")


def part(path: Path) -> str:
    """By hash of the file's name: 10 % validation, 10 % test, the rest for training."""
    return {0: "validation", 1: "test"}.get(place(path) % 10, "train")
