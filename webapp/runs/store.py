"""The artifact store as the web sees it: a folder that nothing may lead out of."""

from pathlib import Path

from django.conf import settings
from django.http import Http404


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
