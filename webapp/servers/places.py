"""Where the embedded servers of an installation live: folders, sockets, addresses, and the account that runs them."""

import hashlib
import os
import pwd
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

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


OURS = ("servers.lock", "serve.lock", "secret-key", "store")


def make_home() -> Path:
    """The home, for its owner alone. Started by root, the servers' account may still walk through it, to what it owns.

    A home that was made with more is narrowed; a folder that holds nothing of ours may have other uses, and stays as it is.
    """
    own = home()
    if not own.exists():
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        own.chmod(0o711 if os.geteuid() == 0 else 0o700)
    found = own.stat()
    allowed = stat.S_IMODE(found.st_mode) & (0o711 if os.geteuid() == 0 else 0o700)
    if found.st_uid == os.geteuid() and allowed != stat.S_IMODE(found.st_mode) and any((own / name).exists() for name in OURS):
        own.chmod(allowed)
    return own


def places() -> Places:
    """Where the embedded servers of this home live; depends on who asks and what that account can reach."""
    own = home()
    digest = hashlib.sha256(str(own).encode()).hexdigest()[:12]
    account = _account() if os.geteuid() == 0 else None
    base = own / "servers" if account is None or is_reachable(own) else SYSTEM_FOLDER / digest
    sockets = base / "run"
    if len(os.fsencode(sockets / ".s.PGSQL.5432")) > SOCKET_PATH_LIMIT:
        sockets = Path("/tmp") / f"stillhouse-{digest}"  # noqa: S108 - short on every system; make_folders refuses it in other hands
    return Places(account, base, sockets)


def _account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServersError(
        "PostgreSQL refuses to run as root, and this system has no account named postgres or nobody; start Stillhouse as another user."
    )


def is_reachable(path: Path) -> bool:
    """Whether any account may walk to `path`, as far as it exists."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents) if folder.exists())


def make_folders(where: Places) -> None:
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
