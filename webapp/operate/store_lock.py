"""Who removes files of the store, and who needs that none are removed: backups share the lock, retention has it alone."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

KEY = 0x5354_4F52_45
"""PostgreSQL's advisory lock, by its number. It goes with the connection, however that ends."""


@contextmanager
def nothing_is_removed() -> Iterator[None]:
    """Waits for a removal under way; until the end none begins."""
    _ask("SELECT pg_advisory_lock_shared(%s)")
    try:
        yield
    finally:
        _ask("SELECT pg_advisory_unlock_shared(%s)")


@contextmanager
def may_remove() -> Iterator[bool]:
    """Whether files may be removed until the end: not while a backup is made, or while another process removes some. Does not wait."""
    mine = _ask("SELECT pg_try_advisory_lock(%s)")
    try:
        yield mine
    finally:
        if mine:
            _ask("SELECT pg_advisory_unlock(%s)")


def _ask(statement: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(statement, [KEY])
        row = cursor.fetchone()
    return bool(row and row[0])
