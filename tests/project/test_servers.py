"""The embedded servers start, survive, recover and stop, each test in a home of its own."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from kombu import Connection

from tests.waiting import wait_for
from webapp import servers
from webapp.servers.__main__ import main as servers_command
from webapp.servers.bounded import MOST_BYTES


@pytest.fixture
def own_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A new STILLHOUSE_HOME, with no server named by the environment."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    with tempfile.TemporaryDirectory(prefix="stillhouse-test-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        monkeypatch.setenv("STILLHOUSE_HOME", folder)
        yield Path(folder)
        servers.stop()


def pids() -> list[int]:
    return [server.pid for server in servers.status() if server.pid is not None]


def answer() -> tuple[int, bool]:
    found = servers.addresses()
    with psycopg.connect(found.database_url) as connection, redis.Redis.from_url(found.redis_url) as client:
        row = connection.execute("SELECT current_setting('server_version_num')::int / 10000").fetchone()
        assert row is not None
        return row[0], client.ping()


def test_addresses_start_nothing(own_home: Path) -> None:
    found = servers.addresses()

    assert found.database_url.startswith("postgresql://stillhouse@/stillhouse?host=")
    assert found.redis_url.startswith("unix:///")
    assert list(own_home.iterdir()) == []


def test_addresses_named_by_the_environment_win(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db.example/x")
    monkeypatch.setenv("REDIS_URL", "redis://cache.example/3")

    found = servers.ensure()

    assert found == servers.Addresses("postgresql://db.example/x", "redis://cache.example/3")
    assert list(own_home.iterdir()) == []


def test_both_servers_answer_after_ensure(own_home: Path) -> None:
    servers.ensure()

    assert answer() == (18, True)


def test_a_second_ensure_keeps_the_running_servers(own_home: Path) -> None:
    servers.ensure()
    before = pids()

    servers.ensure()

    assert pids() == before
    assert len(before) == 2


def test_ensure_from_four_processes_at_once_starts_each_server_once(own_home: Path) -> None:
    def start(_: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "webapp.servers", "start"], capture_output=True, text=True, timeout=120)

    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(start, range(4)))

    assert [process.returncode for process in ended] == [0] * 4, ended
    where = servers.places()
    of_this_home = [
        p for p in psutil.process_iter(["name", "ppid", "cmdline"]) if p.info["cmdline"] and str(own_home) in " ".join(p.info["cmdline"])
    ]
    assert sorted(p.pid for p in of_this_home if p.info["name"] in {"postgres", "valkey-server"}) == sorted(pids())
    assert where.data.exists()


def test_their_logs_are_bounded_while_they_write_them(own_home: Path) -> None:
    servers.ensure()
    logs = [server.log for server in servers.status()]
    for log in logs:
        with log.open("ab") as file:
            file.write(b"old\n" * (MOST_BYTES // 4))

    servers.keep_logs_bounded()
    emptied = [log.stat().st_size for log in logs]
    with psycopg.connect(servers.addresses().database_url) as connection, suppress(psycopg.Error):
        connection.execute("SELECT no_such_column")

    wait_for(lambda: "no_such_column" in logs[0].read_text(), what="PostgreSQL's complaint")
    assert emptied == [0, 0]
    assert logs[0].stat().st_size < 10_000
    assert [log.with_name(f"{log.name}.1").stat().st_size for log in logs] == [MOST_BYTES] * 2


def test_the_servers_outlive_the_process_that_started_them(own_home: Path) -> None:
    subprocess.run([sys.executable, "-m", "webapp.servers", "start"], check=True, capture_output=True, timeout=120)

    assert answer() == (18, True)


def test_data_survives_a_kill_of_both_servers(own_home: Path) -> None:
    servers.ensure()
    with psycopg.connect(servers.addresses().database_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    killed = pids()
    for pid in killed:
        os.kill(pid, signal.SIGKILL)

    servers.ensure()

    with psycopg.connect(servers.addresses().database_url) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)
    assert set(pids()).isdisjoint(killed)


def test_a_pid_file_that_names_a_living_stranger_does_not_stop_a_start(own_home: Path) -> None:
    servers.ensure()
    where = servers.places()
    for pid in pids():
        os.kill(pid, signal.SIGKILL)
    stranger = os.getpid()
    lines = where.postgres_pid.read_text().splitlines()
    where.postgres_pid.write_text("\n".join([str(stranger), *lines[1:]]) + "\n")
    where.valkey_pid.write_text(f"{stranger}\n")

    servers.ensure()

    assert answer() == (18, True)


def test_an_interrupted_first_start_is_made_good(own_home: Path) -> None:
    half_made = own_home / "servers" / "postgres.new"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")

    servers.ensure()

    assert answer() == (18, True)
    assert not half_made.exists()


def test_stop_leaves_no_process_and_no_socket(own_home: Path) -> None:
    servers.ensure()
    processes = [psutil.Process(pid) for pid in pids()]
    processes += [child for process in processes for child in process.children(recursive=True)]
    where = servers.places()

    servers.stop()

    wait_for(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes), what="the servers' end")
    assert not where.sockets.exists()
    assert [server.pid for server in servers.status()] == [None, None]


def test_only_the_owner_may_enter_the_folder_of_the_sockets(own_home: Path) -> None:
    servers.ensure()

    assert servers.places().sockets.stat().st_mode & 0o777 == 0o700


def test_a_home_with_a_long_name_gets_short_sockets(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_HOME", str(own_home / ("long" * 30)))

    servers.ensure()

    assert answer() == (18, True)
    assert len(str(servers.places().sockets)) < servers.SOCKET_PATH_LIMIT
    servers.stop()
    assert not servers.places().sockets.exists()


@pytest.mark.parametrize("redis_url", ["embedded", "redis://h:6379/3", "rediss://:secret@h:6380/0"])
def test_celery_gets_the_redis_that_the_client_gets(own_home: Path, redis_url: str) -> None:
    if redis_url != "embedded":
        assert servers.celery_url(redis_url) == redis_url
        return
    url = servers.ensure().redis_url.replace("db=0", "db=5")

    with Connection(servers.celery_url(url)) as broker:
        broker.SimpleQueue("doorbell").put({"ring": 1})

    with redis.Redis.from_url(url) as client:
        assert client.llen("doorbell") == 1


def test_status_names_both_servers_and_fails_when_one_is_down(own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = servers_command(["status"])

    assert code == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("PostgreSQL: not running, ")
    assert lines[1].startswith("Valkey: not running, ")


def test_a_wrong_command_is_answered_with_the_right_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert servers_command(["restart"]) == 2
    assert capsys.readouterr().err == "usage: python -m webapp.servers start|stop|status\n"


def test_a_data_folder_of_another_postgresql_is_refused(own_home: Path) -> None:
    servers.ensure()
    servers.stop()
    (servers.places().data / "PG_VERSION").write_text("17\n")

    with pytest.raises(
        servers.ServersError, match="was made by PostgreSQL 17, this is 18; dump and load it, or choose another STILLHOUSE_HOME"
    ):
        servers.ensure()
