"""The whole test suite: `make test`, or `python -m tests`.

First everything, on embedded servers of its own, shared out to as many processes as there are cores (tests/lanes.py says how). Then, where a
PostgreSQL and a Redis answer on this machine's usual ports, the tests of leases, workers and faults once more on those: another version, over
TCP, each process with a database and a Redis database of its own. Chromium is found, or installed where that is allowed; otherwise the run is
red and prints the one missing command.
"""

import getpass
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import redis

from tests.lanes import REDIS_URLS

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL = "apt-get update && apt-get install --yes --no-install-recommends chromium"
POSTGRES = "127.0.0.1:5432"
REDIS = "redis://127.0.0.1:6379"
AGAIN = ("tests/workers", "tests/faults", "tests/webapp/**/test_lifecycle*.py")
ONCE = ("--ignore=tests/workers/test_every_method.py", "--ignore=tests/faults/test_campaign.py")
"""The sweep over the catalog asks about methods, which know no server; how a run gets through a worker, the other files ask. The campaign has
servers of its own."""
AT_MOST = 4
"""Processes that share the tests: more would wait for the one that has the tests which start programs."""
SLOWEST = "--durations=10"


def find_chromium() -> str | None:
    """The browser's path, installing Debian's package where this user may. None, after saying what to do, when there is none."""
    if found := next(filter(None, map(shutil.which, CHROMIUM)), None):
        return found
    if shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        may = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
        if not may or shutil.which("sudo"):
            print("Chromium is missing; installing it.", flush=True)
            subprocess.run([*may, "sh", "-c", INSTALL], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    if found := next(filter(None, map(shutil.which, CHROMIUM)), None):
        return found
    print(
        f"The browser tests need Chromium, which is not on this machine. Install it and run again:\n    sudo sh -c '{INSTALL}'",
        file=sys.stderr,
    )
    return None


@contextmanager
def external_servers(processes: int) -> Iterator[dict[str, str] | None]:
    """A database on the machine's servers, from which each process makes its own, and a Redis database for each; all gone afterwards. None where
    they do not answer or do not let us, or have too few that are empty."""
    for user in (getpass.getuser(), "postgres"):
        try:
            postgres = psycopg.connect(f"postgresql://{user}@{POSTGRES}/postgres", connect_timeout=3, autocommit=True)
            break
        except psycopg.OperationalError:
            continue
    else:
        yield None
        return
    name = f"stillhouse_{os.getpid()}"
    numbers = _empty_redis_databases()[:processes]
    may_create = postgres.execute("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    if len(numbers) < processes or may_create != (True,):
        postgres.close()
        yield None
        return
    postgres.execute(f'CREATE DATABASE "{name}"')
    try:
        urls = " ".join(f"{REDIS}/{number}" for number in numbers)
        yield {"DATABASE_URL": f"postgresql://{user}@{POSTGRES}/{name}", REDIS_URLS: urls}
    finally:
        for database in (f"test_{name}", *(f"test_{name}_gw{process}" for process in range(processes)), name):
            postgres.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
        postgres.close()
        for number in numbers:
            with redis.Redis.from_url(f"{REDIS}/{number}") as client:
                client.flushdb()


def _empty_redis_databases() -> list[int]:
    """The numbers of the Redis databases without a key, the highest first: others' stay untouched."""
    found = []
    for number in range(15, 0, -1):
        try:
            with redis.Redis.from_url(f"{REDIS}/{number}", socket_connect_timeout=3) as client:
                if client.dbsize() == 0:
                    found.append(number)
        except redis.ResponseError:
            continue
        except redis.RedisError:
            return []
    return found


def run_pytest(*arguments: str, environment: dict[str, str]) -> int:
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, check=False).returncode


def main() -> int:
    started = time.monotonic()
    chromium = find_chromium()
    if chromium is None:
        return 1
    environment = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL", REDIS_URLS}}
    environment["STILLHOUSE_CHROMIUM"] = chromium

    print("All tests, on embedded servers", flush=True)
    processes = min(os.cpu_count() or 1, AT_MOST)
    shared = ["--numprocesses", str(processes)] if processes > 1 else []
    codes = [run_pytest(SLOWEST, *shared, environment=environment)]

    covered = "PostgreSQL 18 and Valkey 9 from the wheels"
    with external_servers(processes) as found:
        if found is None:
            covered += f"; not the servers of this machine (none that let us at {POSTGRES} and {REDIS})"
        else:
            print(f"\nLeases, workers and faults, on {found['DATABASE_URL']} and {found[REDIS_URLS]}", flush=True)
            paths = [str(path.relative_to(ROOT)) for pattern in AGAIN for path in sorted(ROOT.glob(pattern))]
            codes.append(run_pytest(SLOWEST, *shared, *ONCE, *paths, environment=environment | found))
            covered += f"; and {POSTGRES} and {REDIS}"
    verdict = "green" if not any(codes) else "RED"
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"{verdict} in {minutes} min {seconds} s. Servers: {covered}. Browser: {chromium}.", flush=True)
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
