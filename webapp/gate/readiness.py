"""Whether this process can do its work: database and Redis answer, and the database's migrations are those of this code.

Looked at by one thread at a time, and again only after a while: a hundred who ask cost one look.
"""

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import psycopg
import redis
from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

PATIENCE = 2
"""Seconds that a server has for its answer."""
KEPT_SECONDS = 2.0
KEPT_WHILE_WELL = 10.0
"""How old an answer may be for a page, which is only asked whether the database's version is right."""
SILENT = "does not answer"

Migration = tuple[str, str]


@dataclass(frozen=True)
class Readiness:
    """What the last look found: "ok", or what is wrong, of each part. `wrong_version` is the sentence for a database that does not fit."""

    database: str
    redis: str
    wrong_version: str = ""

    @property
    def is_ready(self) -> bool:
        return (self.database, self.redis) == ("ok", "ok")


class Looks:
    """The newest look of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[float, Readiness] | None = None

    def newest(self, *, at_most: float = KEPT_SECONDS) -> Readiness:
        """What a look found that is at most so many seconds old. Who comes while another looks gets what was found before, or waits for the first."""
        last = self._last
        if last is not None and time.monotonic() - last[0] <= at_most:
            return last[1]
        if not self._lock.acquire(blocking=last is None):
            assert last is not None
            is_overdue = time.monotonic() - last[0] > at_most + 4 * PATIENCE
            return replace(last[1], database="the last look at it has not ended") if is_overdue else last[1]
        try:
            if self._last is not last and self._last is not None:  # another has looked while this one waited
                return self._last[1]
            found = look()
            if found.wrong_version and (last is None or last[1].wrong_version != found.wrong_version):
                logger.error("%s", found.wrong_version)
            self._last = (time.monotonic(), found)
            return found
        finally:
            self._lock.release()

    def forget(self) -> None:
        """The next who asks looks."""
        self._last = None


LOOKS = Looks()


def wrong_version() -> str:
    """The sentence for a database of another version; empty while it fits, and while it does not answer, which shows by itself."""
    last = LOOKS.newest(at_most=KEPT_WHILE_WELL)
    return LOOKS.newest().wrong_version if last.wrong_version else ""


def look() -> Readiness:
    """Asks both servers now."""
    told = "ok" if _redis_answers() else SILENT
    try:
        wrong = misfit(applied=_applied(), known=known_migrations())
    except psycopg.Error:
        return Readiness(SILENT, told)
    return Readiness(wrong or "ok", told, wrong)


def differences(*, applied: set[Migration], known: dict[Migration, frozenset[Migration]]) -> tuple[set[Migration], set[Migration]]:
    """The migrations that only the database has, and those that only the code has. `known` has what each one replaces."""
    newer = applied - known.keys() - frozenset().union(*known.values())
    older = {each for each, replaced in known.items() if each not in applied and not (replaced and replaced <= applied)}
    return newer, older


def misfit(*, applied: set[Migration], known: dict[Migration, frozenset[Migration]]) -> str:
    """Why a database with these migrations does not fit code with those; empty where it fits."""
    newer, older = differences(applied=applied, known=known)
    if newer:
        return f"The database is from a newer Stillhouse: it has {_named(newer)}; update the code."
    if older and not applied:
        return "The database has no tables yet; run manage.py migrate."
    return f"The database is from an older Stillhouse: it lacks {_named(older)}; run manage.py migrate." if older else ""


@cache
def known_migrations() -> dict[Migration, frozenset[Migration]]:
    """Every migration of this code, with those that it replaces. Read from files, once."""
    loader = MigrationLoader(None)
    squashed = {each for migration in loader.disk_migrations.values() for each in migration.replaces}
    return {key: frozenset(migration.replaces) for key, migration in loader.disk_migrations.items() if key not in squashed}


def _named(migrations: Iterable[Migration]) -> str:
    first, *others = sorted(f"{app}.{name}" for app, name in migrations)
    return first if not others else f"{first} and {len(others)} more"


def _applied() -> set[Migration]:
    """A connection of its own, that gives up in time and takes none from the pages."""
    with psycopg.connect(**connection.get_connection_params() | {"connect_timeout": PATIENCE}) as own:
        own.execute(f"SET LOCAL statement_timeout = '{PATIENCE}s'")
        if own.execute("SELECT to_regclass('django_migrations')").fetchone() == (None,):
            return set()
        return {(app, name) for app, name in own.execute("SELECT app, name FROM django_migrations")}


def _redis_answers() -> bool:
    try:
        with redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=Retry(NoBackoff(), 0)
        ) as client:
            client.ping()
    except (redis.RedisError, OSError):
        return False
    return True
