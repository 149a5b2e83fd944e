"""The embedded servers: a real PostgreSQL 18 and a real Valkey 9 from Python wheels, under STILLHOUSE_HOME.

`DATABASE_URL` and `REDIS_URL` name the servers; what they do not name is started here on demand and outlives the process that
started it. Both listen on a Unix socket in a folder that only their account may enter, and on no network address, so they need no password.
Start, stop and status run one at a time, under a file lock.

PostgreSQL refuses to run as root. Started by root, both run as the account `postgres` (or `nobody`), and whatever that account could
not reach, such as a home or a virtual environment under /root, is kept under /var/lib/stillhouse instead.

    python -m webapp.servers start|stop|status
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from webapp.servers import postgres, valkey
from webapp.servers.bounded import keep_bounded
from webapp.servers.places import SOCKET_PATH_LIMIT as SOCKET_PATH_LIMIT
from webapp.servers.places import Addresses as Addresses
from webapp.servers.places import ServersError as ServersError
from webapp.servers.places import home as home
from webapp.servers.places import make_folders
from webapp.servers.places import make_home as make_home
from webapp.servers.places import places as places
from webapp.servers.processes import one_at_a_time, pid_of
from webapp.servers.urls import checked
from webapp.servers.urls import shown as shown


@dataclass(frozen=True)
class Server:
    """One embedded server as it is now. `pid` is None when it is not running."""

    name: str
    address: str
    pid: int | None
    log: Path


def addresses() -> Addresses:
    """The servers that the environment names, else the embedded ones. Starts nothing. Raises ServersError for what is no address."""
    embedded = places().embedded
    return Addresses(checked("DATABASE_URL") or embedded.database_url, checked("REDIS_URL") or embedded.redis_url)


def ensure() -> Addresses:
    """Starts the embedded servers that the environment does not replace and that do not run, waits until they answer, and returns `addresses()`.

    Raises ServersError with the end of the server's log when one does not start.
    """
    where = places()
    wanted = [start for name, start in (("DATABASE_URL", postgres.ensure), ("REDIS_URL", valkey.ensure)) if not os.environ.get(name)]
    if wanted:
        with one_at_a_time():
            make_folders(where)
            keep_logs_bounded()
            for start in wanted:
                start(where)
    return addresses()


def keep_logs_bounded() -> None:
    """To be called now and then while they run."""
    for server in status():
        keep_bounded(server.log)


def stop() -> None:
    """Stops the embedded servers of this home, if they run, and leaves nothing of theirs but data and logs."""
    where = places()
    if not where.base.exists():
        return
    with one_at_a_time():
        postgres.stop(where)
        valkey.stop(where)
        shutil.rmtree(where.sockets, ignore_errors=True)


def status() -> tuple[Server, Server]:
    """PostgreSQL and Valkey, as they are now."""
    where = places()
    return (
        Server("PostgreSQL", where.embedded.database_url, pid_of(where.postgres_pid, where.data), where.logs / "postgres.log"),
        Server("Valkey", where.embedded.redis_url, pid_of(where.valkey_pid, where.sockets), where.logs / "valkey.log"),
    )


def wanted() -> list[Server]:
    """Those that the environment does not replace, as they are now."""
    return [server for name, server in zip(("DATABASE_URL", "REDIS_URL"), status(), strict=True) if not os.environ.get(name)]


def celery_url(redis_url: str) -> str:
    """The same Redis as Celery spells it: it names a Unix socket by another scheme than the Redis client."""
    if not redis_url.startswith("unix://"):
        return redis_url
    path, _, query = redis_url.removeprefix("unix://").partition("?db=")
    return f"redis+socket://{path}?virtual_host={query or 0}"
