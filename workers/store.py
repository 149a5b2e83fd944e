"""Paths that a child names: checked before anything is opened."""

from pathlib import PurePosixPath

from webapp.store import path_in_store


def within(folder: str, path: str) -> str:
    """The store-relative path of something that a child left in its folder. Raises ValueError for one that leads out of it, by a link too."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\x00" in path or not parts.parts:
        raise ValueError(f"{path!r} is not within the attempt's folder")
    relative = f"{folder}/{parts}"
    if not path_in_store(relative).is_relative_to(path_in_store(folder)):
        raise ValueError(f"{path!r} is not within the attempt's folder")
    return relative
