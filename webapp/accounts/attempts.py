"""The name under which a failed sign-in is counted."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest

from webapp.api.body import NO_TEXT

LONGEST = 255
"""What the column of failed attempts holds. Nobody's name is that long, but what is typed may be, and grows when letters are normalized."""


def attempted_name(request: HttpRequest | None, credentials: Mapping[str, Any] | None = None) -> str:
    """What was typed, cut to what can be stored: a name that is too long is one that nobody has, and no error."""
    typed = (credentials or {}).get("username") or (request.POST.get("username", "") if request is not None else "")
    return NO_TEXT.sub("", str(typed))[:LONGEST]
