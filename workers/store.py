"""Paths in the artifact store, as workers use them. What a run says of paths is checked here before anything is opened."""

from pathlib import Path, PurePosixPath

from django.conf import settings


def in_store(relative: str) -> Path:
    """The absolute path of a store-relative one, which need not exist. Raises ValueError for one that leads out of the store, by a link too."""
    store = Path(settings.STORE).resolve()
    path = (store / relative).resolve()
    if path == store or not path.is_relative_to(store):
        raise ValueError(f"{relative!r} is not in the store")
    return path


def within(folder: str, path: str) -> str:
    """The store-relative path of something that a child left in its folder. Raises ValueError for one that leads out of it, by a link too."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\x00" in path or not parts.parts:
        raise ValueError(f"{path!r} is not within the attempt's folder")
    relative = f"{folder}/{parts}"
    if not in_store(relative).is_relative_to(in_store(folder)):
        raise ValueError(f"{path!r} is not within the attempt's folder")
    return relative
