"""One `serve` for one home: who holds it, and what one that was killed has left running.

The lock is the kernel's and goes with the process, however that ends. What has been started stands in a file beside it, each process by its pid
and its start: a pid alone may be another program's by the time that it is read.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import psutil

from webapp import servers
from webapp.serve.lives import ServeError
from webapp.servers.processes import wait_for_end

LOCK = "serve.lock"
STARTED = "serve.json"
SAME_START_SECONDS = 1.0
"""Two starts of one pid are further apart than this; what the system says of one start differs by less."""


class Hold:
    """The hold on a home. Remembers on disk what is running for it."""

    def __init__(self, lock: IO[str], home: Path) -> None:
        self.home = home
        self._lock = lock
        self._file = home / STARTED
        found = _read(self._file)
        self._left: dict[int, float] = {int(pid): float(start) for pid, start in found.get("services", {}).items()}
        self.has_started_servers: bool = bool(found.get("servers"))  # a killed one did, and nobody has stopped them since

    def tell(self, address: str) -> None:
        """Says where it is served, to whoever tries to hold it as well."""
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()} {address}".strip())
        self._lock.flush()

    def remember_servers(self, *, started: bool) -> None:
        self.has_started_servers = started
        self._write({})

    def remember_services(self, pids: list[int]) -> None:
        started = {}
        for pid in pids:
            with suppress(psutil.Error):
                started[pid] = psutil.Process(pid).create_time()
        self._write(started)

    def end_what_was_left(self, say: Callable[[str], None]) -> None:
        """Ends the services that a killed holder has left, with all their children."""
        left = processes_left(self._left, self.home)
        if not left:
            return
        say(f"Ending {len(left)} processes that an earlier serve of {self.home} left running.")
        for process in left:
            if process.pid in self._left:  # a worker ends its children itself, after their checkpoint
                with suppress(psutil.Error):
                    process.terminate()
        wait_for_end([process for process in left if process.pid in self._left])
        for process in (stray := processes_left(self._left, self.home)):
            with suppress(psutil.Error):
                process.kill()
        wait_for_end(stray)

    def let_go(self) -> None:
        """All that was started has ended, but for servers that a killed holder had started and this one did not come to use."""
        self._lock.truncate(0)
        if not self.has_started_servers:
            self._file.unlink(missing_ok=True)

    def _write(self, services: Mapping[int, float]) -> None:
        fresh = self._file.with_name(f"{STARTED}.new")
        fresh.write_text(json.dumps({"servers": self.has_started_servers, "services": services}))
        fresh.replace(self._file)


@contextmanager
def held_home(say: Callable[[str], None]) -> Iterator[Hold]:
    """This home is ours inside the block, and nothing of an earlier holder runs but its servers. Raises ServeError when another holds it."""
    home = servers.make_home()
    (home / LOCK).touch(mode=0o600)
    with (home / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServeError(
                f"{home} is served already, by {holder(home) or 'another process'}; end that first, or choose another STILLHOUSE_HOME."
            ) from None
        hold = Hold(lock, home)
        hold.tell("")
        try:
            hold.end_what_was_left(say)
            yield hold
        finally:
            hold.let_go()


def holder(home: Path) -> str | None:
    """Who serves this home, in words; None when nobody does."""
    with suppress(OSError), (home / LOCK).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, _, address = lock.read().partition(" ")
            return f"process {pid}{f' at {address}' if address else ''}" if pid else "another process"
    return None


def processes_left(started: Mapping[int, float], home: Path) -> list[psutil.Process]:
    """What still runs of the services that were started then, each the first of a session of its own, and of their children."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            leader = os.getsid(process.pid)
            is_ours = leader in started and process.environ().get("STILLHOUSE_HOME") == str(home)
            if is_ours and not _is_another(leader, started[leader]):
                found.append(process)
    return found


def _is_another(pid: int, started: float) -> bool:
    """Whether the pid is by now that of a program which was started at another time."""
    with suppress(psutil.NoSuchProcess):
        return abs(psutil.Process(pid).create_time() - started) > SAME_START_SECONDS
    return False


def _read(file: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(file.read_text())
        if isinstance(found, dict):
            return found
    return {}
