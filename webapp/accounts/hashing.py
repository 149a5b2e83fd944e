"""Passwords are hashed a few at a time: each Argon2 takes 100 MB and a core while it runs, and a crowd at the door must take neither the
machine's memory nor all of its cores.

Every hash of the process goes through here, whoever asks for it: signing in on the site or in the admin, changing a password, and the hash
that Django makes for a name that does not exist, so that a name's existence shows neither in time nor in being turned away.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher, PBKDF2PasswordHasher
from django.db import connection

from webapp.gate.refusal import NotNow

MEGABYTES_EACH = Argon2PasswordHasher.memory_cost // 1024
LONGEST_WAIT = 15.0
"""Seconds. A person who has waited longer has loaded the page again."""
BUSY = "Too many people are signing in just now; try again in a few seconds."


class HashingTurns:
    """At most `at_once` at the same time, and at most `waiting` who wait for their turn."""

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self._free, self._places = at_once, waiting
        self._changed = threading.Condition()

    @contextmanager
    def one(self) -> Iterator[None]:
        """A turn, until the end of the block. Raises NotNow when too many wait already, or after LONGEST_WAIT."""
        self._take()
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify()

    def _take(self) -> None:
        with self._changed:
            if self._free == 0:
                self._wait()
            self._free -= 1

    def _wait(self) -> None:
        if self._places == 0:
            raise NotNow(BUSY, status=503, seconds=3)
        self._places -= 1
        try:
            if not connection.in_atomic_block:
                connection.close()  # who only waits keeps nothing from those who work
            if not self._changed.wait_for(lambda: self._free > 0, LONGEST_WAIT):
                raise NotNow(BUSY, status=503, seconds=3)
        finally:
            self._places += 1


def hashes_at_once(megabytes: int, cores: int) -> int:
    """At least one."""
    return max(1, min(megabytes // MEGABYTES_EACH, cores // 2))


TURNS = HashingTurns(at_once=hashes_at_once(settings.HASHING_MEGABYTES, os.cpu_count() or 1), waiting=settings.HASHING_QUEUE)


class Argon2InTurn(Argon2PasswordHasher):
    """New passwords, each on one core; a hash that was made on eight is made anew when its person signs in."""

    parallelism = 1

    def encode(self, password: str, salt: str) -> str:
        with TURNS.one():
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        with TURNS.one():
            return super().verify(password, encoded)


class Pbkdf2InTurn(PBKDF2PasswordHasher):
    """Passwords from before Argon2. To verify one is to encode it again."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        with TURNS.one():
            return super().encode(password, salt, iterations)
