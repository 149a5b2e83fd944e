"""The artifact store as the web sees it: a folder that nothing may lead out of."""

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import Http404


class Unreadable(Exception):
    """A file does not hold what it should: a sentence for the page in its place."""


def parsed(text: bytes) -> Any:
    """JSON from a file, which may hold anything: halves of characters, which no page can show, are replaced, NaN and infinity are words.

    Raises ValueError or RecursionError.
    """
    content = json.loads(text, parse_constant=str)
    if b"\\ud" not in text.lower():
        return content
    return json.loads(json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"))


def resolve(relative: str) -> Path:
    """The file or folder at a store-relative path. Raises Http404 for one that is missing or, by `..`, a root or a symbolic link, outside the store."""
    store = Path(settings.STORE).resolve()
    try:
        path = (store / relative).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):  # missing, a NUL in the name, a loop of links
        raise Http404("This file is not in the store.") from None
    if not path.is_relative_to(store) or path == store:
        raise Http404("This file is not in the store.")
    return path
