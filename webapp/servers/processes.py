"""Programs of the embedded servers: found in their wheels, started as their account, told apart from others, waited for."""

import fcntl
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from webapp.servers.places import SYSTEM_FOLDER, Places, ServersError, is_reachable, make_home

STOP_SECONDS = 30.0
START_SECONDS = 60.0


def wheel(where: Places, distribution: str, package: str) -> Path:
    """The folder of an installed package, or a copy of it where the servers' account can read it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ServersError(
            f"The package {distribution} is not installed; install it, or name your own servers by DATABASE_URL and REDIS_URL."
        )
    installed = Path(next(iter(spec.submodule_search_locations))).resolve()
    if where.account is None or (is_reachable(installed) and installed.stat().st_mode & 0o004):
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


def run_program(where: Places, command: Sequence[str], log: Path) -> int:
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
def one_at_a_time() -> Iterator[None]:
    """One start or stop at a time. The lock goes with the process that holds it, however that ends."""
    with (make_home() / "servers.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def process_of(pid_file: Path, folder: Path) -> psutil.Process | None:
    """The running server that the pid file names. A pid that another program has got since is recognized by its working folder."""
    with suppress(OSError, ValueError, IndexError, psutil.Error):
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        if _alive(process) and Path(process.cwd()) == folder:
            return process
    return None


def pid_of(pid_file: Path, folder: Path) -> int | None:
    process = process_of(pid_file, folder)
    return None if process is None else process.pid


def _alive(process: psutil.Process) -> bool:
    """A zombie has ended, even where nobody ever collects it (as process 1 of many containers does not)."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def wait_for_end(processes: Sequence[psutil.Process]) -> None:
    """Gives processes time to end, then kills them."""
    deadline = time.monotonic() + STOP_SECONDS
    while alive := [process for process in processes if _alive(process)]:
        if time.monotonic() > deadline:
            for process in alive:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        time.sleep(0.02)


def failure(what: str, log: Path) -> ServersError:
    lines = log.read_text(errors="replace").splitlines()[-12:] if log.exists() else []
    return ServersError("\n".join([f"{what} The end of {log}:", *(f"  {line}" for line in lines)]))
