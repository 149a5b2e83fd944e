"""The artifact store: a folder that nothing may lead out of, and whose files may hold anything."""

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import Http404


def path_in_store(relative: str) -> Path:
    """The absolute path of a store-relative one, which need not exist.

    Raises ValueError for the store itself and for what leads out of it: by `..`, a root, or a symbolic link. Web and workers ask here.
    """
    store = Path(settings.STORE).resolve()
    try:
        path = (store / relative).resolve()
    except (ValueError, RuntimeError, OSError):  # a NUL in the name, a loop of links
        raise ValueError(f"{relative!r} is no path") from None
    if path == store or not path.is_relative_to(store):
        raise ValueError(f"{relative!r} is not in the store")
    return path


def existing(relative: str) -> Path:
    """The file or folder at a store-relative path. Raises Http404 for one that is missing or outside the store."""
    try:
        return path_in_store(relative).resolve(strict=True)
    except (ValueError, OSError):
        raise Http404("This file is not in the store.") from None


def parsed(text: bytes) -> Any:
    """JSON from a file: halves of characters, which no page can show, are replaced, NaN and infinity are words.

    Raises ValueError or RecursionError.
    """
    content = json.loads(text, parse_constant=str)
    if b"\\ud" not in text.lower():
        return content
    return json.loads(json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"))
