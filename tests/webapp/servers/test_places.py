"""Where the embedded servers live, who may go there, and how their processes are told from others: no server is started."""

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from tests.waiting import wait_for
from webapp import servers, settings
from webapp.servers.places import Places, ServersError, home, is_reachable, make_folders, make_home, places
from webapp.servers.processes import failure, one_at_a_time, pid_of, process_of, run_program, wait_for_end, wheel


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("STILLHOUSE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def where(own_home: Path) -> Places:
    """Places of the account that runs the tests, whichever that is."""
    return Places(None, own_home / "servers", own_home / "servers" / "run")


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that works in a folder of its own until it is ended."""
    folder = tmp_path / "working"
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=folder, stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


# Addresses


@pytest.mark.parametrize(
    ("redis_url", "celery_url"),
    [
        ("unix:///a/b.sock?db=0", "redis+socket:///a/b.sock?virtual_host=0"),
        ("unix:///a/b.sock?db=12", "redis+socket:///a/b.sock?virtual_host=12"),
        ("unix:///a/b.sock", "redis+socket:///a/b.sock?virtual_host=0"),
        ("redis://:p@h:1/2", "redis://:p@h:1/2"),
    ],
)
def test_celery_is_told_of_the_same_database_of_the_same_redis(redis_url: str, celery_url: str) -> None:
    assert servers.celery_url(redis_url) == celery_url


def test_a_server_that_the_environment_leaves_empty_is_the_embedded_one(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded = servers.addresses()
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("REDIS_URL", "redis://h/1")

    assert servers.addresses() == servers.Addresses(embedded.database_url, "redis://h/1")
    assert embedded == places().embedded


def test_addresses_hold_odd_folders_so_that_the_programs_find_them_again(own_home: Path) -> None:
    odd = own_home / "a b%2F&c?d=e" / "ö"
    found = Places(None, odd, odd).embedded

    database = settings._database(found.database_url)

    assert (database["HOST"], database["NAME"], database["USER"], database["OPTIONS"]) == (str(odd), "stillhouse", "stillhouse", {})
    with redis.Redis.from_url(found.redis_url) as client:
        assert client.connection_pool.connection_kwargs["path"] == str(odd / "valkey.sock")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("postgresql://u:p%40ss@db.example:5433/name", ("name", "u", "p@ss", "db.example", "5433", {})),
        ("postgresql:///only", ("only", "", "", "", "", {})),
        ("postgresql://u@h/n?sslmode=require&connect_timeout=3", ("n", "u", "", "h", "", {"sslmode": "require", "connect_timeout": "3"})),
        ("postgresql://u@h/n?host=%2Fsocket&options=-c%20a=b", ("n", "u", "", "/socket", "", {"options": "-c%20a=b"})),
    ],
)
def test_an_address_of_a_database_is_taken_apart(url: str, parts: tuple[Any, ...]) -> None:
    found = settings._database(url)

    assert tuple(found[name] for name in ("NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")) == parts


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), (" Yes ", True), ("ON", True), ("true", True), ("0", False), ("", False), ("nonsense", False)]
)
def test_a_flag_of_the_environment_is_on_in_four_words(text: str, value: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_X", text)

    assert [settings._flag("STILLHOUSE_X", default) for default in (True, False)] == [value, value]
    monkeypatch.delenv("STILLHOUSE_X")
    assert [settings._flag("STILLHOUSE_X", default) for default in (True, False)] == [True, False]


def test_a_list_of_the_environment_has_no_empty_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_X", " a , ,b,")

    assert settings._list("STILLHOUSE_X", "c") == ["a", "b"] and settings._list("STILLHOUSE_Y", "c") == ["c"]


# Folders


@pytest.mark.parametrize("given", ["~/kept", ""])
def test_a_home_is_in_the_persons_own_folder_where_it_says_so_or_says_nothing(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("STILLHOUSE_HOME", given)

    assert home() == tmp_path.resolve() / (given.removeprefix("~/") or ".stillhouse")


def test_a_home_by_a_link_is_the_home_that_it_leads_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("STILLHOUSE_HOME", str(tmp_path / "link"))

    assert home() == (tmp_path / "real").resolve()


def test_homes_with_long_names_have_different_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for letter in "ab":
        monkeypatch.setenv("STILLHOUSE_HOME", f"/tmp/{letter * 120}")
        found.append(places())

    assert found[0].sockets != found[1].sockets and {one.sockets.parent for one in found} == {Path("/tmp")}
    assert [str(one.base) for one in found] == [f"/tmp/{letter * 120}/servers" for letter in "ab"]


def test_a_folder_is_reachable_where_every_folder_above_it_lets_all_pass(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "in").mkdir(parents=True)
    for folder in (top, top / "in"):
        folder.chmod(0o711)
    outside = is_reachable(top.parent)

    assert is_reachable(top / "in" / "not made yet") is outside
    (top / "in").chmod(0o710)
    assert not is_reachable(top / "in" / "not made yet")
    (top / "in").chmod(0o711)
    top.chmod(0o770)
    assert not is_reachable(top / "in")


def test_folders_are_made_so_that_all_may_pass_and_only_their_account_may_look_in(where: Places) -> None:
    make_folders(where)
    where.logs.chmod(0o777)
    make_folders(where)

    modes = {folder: folder.stat().st_mode & 0o777 for folder in (where.base, where.logs, where.sockets)}
    assert modes == {where.base: 0o711, where.logs: 0o700, where.sockets: 0o700}


ROOT_OR_OWN = 0o711 if os.geteuid() == 0 else 0o700


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_a_home_is_made_for_its_owner(umask: int, own_home: Path) -> None:
    before = os.umask(umask)
    try:
        made = make_home()
    finally:
        os.umask(before)

    assert made == own_home.resolve()
    assert made.stat().st_mode & 0o777 == ROOT_OR_OWN


@pytest.mark.parametrize("ours", ["servers.lock", "serve.lock", "secret-key", "store"])
def test_a_home_of_an_earlier_version_is_narrowed_and_never_widened(ours: str, own_home: Path) -> None:
    own_home.mkdir()
    (own_home / ours).touch()
    own_home.chmod(0o775)

    make_home()
    narrowed = own_home.stat().st_mode & 0o777
    own_home.chmod(0o500)
    make_home()

    assert narrowed == ROOT_OR_OWN
    assert own_home.stat().st_mode & 0o777 == 0o500


def test_a_folder_that_holds_nothing_of_ours_stays_as_it_is(own_home: Path) -> None:
    own_home.mkdir()
    (own_home / "somebodys").touch()
    own_home.chmod(0o1777)

    make_home()

    assert own_home.stat().st_mode & 0o7777 == 0o1777


def test_a_folder_of_sockets_that_is_a_link_is_refused(where: Places, tmp_path: Path) -> None:
    (tmp_path / "trap").mkdir()
    where.base.mkdir(parents=True)
    where.sockets.symlink_to(tmp_path / "trap")

    with pytest.raises(ServersError) as refused:
        make_folders(where)

    assert str(refused.value) == f"{where.sockets} belongs to somebody else; remove it, or choose another STILLHOUSE_HOME."


def test_who_starts_servers_keeps_others_out_until_the_end_also_after_a_failure(own_home: Path) -> None:
    def is_free() -> bool:
        with (own_home / "servers.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def start_on_a_full_disk() -> None:
        with one_at_a_time():
            assert not is_free()
            raise ServersError("The disk is full.")

    with pytest.raises(ServersError, match=r"^The disk is full\.$"):
        start_on_a_full_disk()

    assert is_free() and own_home.stat().st_mode & 0o777 == ROOT_OR_OWN


# Processes


def test_a_process_is_the_servers_own_where_it_works_in_the_servers_folder(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    file = tmp_path / "server.pid"
    file.write_text(f"{sleeper.pid}\nmore\n")

    assert pid_of(file, tmp_path / "working") == sleeper.pid
    assert pid_of(file, tmp_path) is None


@pytest.mark.parametrize("text", [None, "", "\n", "no number", "-1", "999999999"])
def test_a_pid_file_that_names_no_process_names_no_server(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "server.pid"
    if text is not None:
        file.write_text(text)

    assert process_of(file, tmp_path) is None


def test_a_process_that_has_ended_is_no_server_even_before_anyone_has_collected_it(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    file = tmp_path / "server.pid"
    file.write_text(str(sleeper.pid))
    process = psutil.Process(sleeper.pid)

    process.kill()

    wait_for(lambda: process.status() == psutil.STATUS_ZOMBIE, what="the zombie")
    assert pid_of(file, tmp_path / "working") is None
    waiting = threading.Thread(target=wait_for_end, args=([process],), daemon=True)
    waiting.start()
    wait_for(lambda: not waiting.is_alive(), seconds=5, what="a wait for a process that has ended")


def test_a_program_runs_away_from_our_folder_and_secrets_and_its_words_are_added_to_the_log(
    where: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    monkeypatch.setenv("SECRET", "s")
    code = (
        "import os, sys; print(os.getcwd(), 'SECRET' in os.environ, os.getsid(0) == os.getpid(), repr(sys.stdin.read())); sys.exit('bad')"
    )

    ended = run_program(where, [sys.executable, "-c", code], log)

    assert ended == 1
    assert sorted(log.read_text().splitlines()) == sorted(["before", "/ False True ''", "bad"])


def test_a_failure_shows_the_end_of_the_log_whatever_is_in_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    nothing = str(failure("It did not start.", log))
    log.write_bytes(b"".join(b"line %d \xff\n" % number for number in range(20)))

    lines = str(failure("It did not start.", log)).splitlines()

    assert nothing == f"It did not start. The end of {log}:"
    assert lines == [f"It did not start. The end of {log}:", *(f"  line {number} �" for number in range(8, 20))]


def test_a_package_that_is_not_installed_is_named_with_the_other_way(where: Places) -> None:
    with pytest.raises(ServersError) as refused:
        wheel(where, "no-such-server", "no_such_server")

    assert str(refused.value) == (
        "The package no-such-server is not installed; install it, or name your own servers by DATABASE_URL and REDIS_URL."
    )
