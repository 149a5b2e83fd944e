"""Addresses that the environment names: looked at before anybody uses them, and shown without their passwords."""

import os
import re
from urllib.parse import SplitResult, urlsplit

from webapp.servers.places import ServersError

FORMS = {
    "DATABASE_URL": (("postgresql", "postgres"), "postgresql://user:password@host:port/name"),
    "REDIS_URL": (("redis", "rediss", "unix"), "redis://user:password@host:port/number"),
}


def checked(name: str) -> str:
    """The address in this variable of the environment, or nothing.

    Raises ServersError for one that can't be taken apart: whoever tries would print the part of the password at which it failed.
    """
    url = os.environ.get(name, "")
    if not url:
        return ""
    schemes, form = FORMS[name]
    if _parts(url, schemes) is None:
        raise ServersError(
            f"{name} must look like {form}; in user and password, write each of / ? # @ : % [ ] as % and its code, like %2F for /."
        )
    return url


def _parts(url: str, schemes: tuple[str, ...]) -> SplitResult | None:
    """None where a character of a password, left as it is, has been taken for the end of something."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    is_whole = not parts.fragment and (parts.scheme == "unix" or "@" not in parts.path + parts.query.partition("&")[0])
    return parts if parts.scheme in schemes and is_whole else None


def shown(url: str) -> str:
    """The address with *** in the place of its password, for people and logs."""
    place = urlsplit(url).netloc
    user, at, host = place.rpartition("@")
    name, colon, _ = user.partition(":")
    safe = url.replace(place, f"{name}{colon and ':***'}{at}{host}", 1) if colon else url
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1***", safe)
