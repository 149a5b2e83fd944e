"""One holder for one home, and what a killed one has left: its processes and no others."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_for
from webapp.serve.holding import LOCK, STARTED, held_home, holder, processes_left
from webapp.serve.lives import SHORT_LIVES, Lives, ServeError

CHILD = "import time; time.sleep(600)"
PARENT = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {CHILD!r}]).pid, flush=True); input()"
"""The child goes on when its parent has gone."""


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = (tmp_path / "home").resolve()
    monkeypatch.setenv("STILLHOUSE_HOME", str(home))
    return home


Service = tuple[psutil.Process, psutil.Process]


@pytest.fixture
def service() -> Iterator[Callable[[Path], Service]]:
    """Starts a process with a child in a session of its own, as serve starts a service of a home."""
    started: list[subprocess.Popen[bytes]] = []
    found: list[psutil.Process] = []

    def start(home: Path) -> Service:
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT], env=os.environ | {"STILLHOUSE_HOME": str(home)}, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        started.append(parent)
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        found.append(child)
        wait_for(child.environ, what="the child to have become its program")  # the system shows none for a moment
        return psutil.Process(parent.pid), child

    yield start
    for child in found:
        if child.is_running():
            child.kill()
    for parent in started:
        parent.kill()
        parent.communicate()


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def leave(home: Path, *services: psutil.Process, shift: float = 0.0) -> None:
    """The file of a holder that was killed, whose services had started then, or `shift` seconds later."""
    home.mkdir(parents=True, exist_ok=True)
    started = {service.pid: service.create_time() + shift for service in services}
    (home / STARTED).write_text(json.dumps({"servers": True, "services": started}))


def test_a_second_holder_is_told_who_the_first_one_is(own_home: Path) -> None:
    with held_home(print) as hold:
        hold.tell("http://localhost:8123")

        with pytest.raises(ServeError) as refused, held_home(print):
            pass

    assert str(refused.value) == (
        f"{own_home} is served already, by process {os.getpid()} at http://localhost:8123; end that first, or choose another STILLHOUSE_HOME."
    )
    assert holder(own_home) is None


def test_a_holder_that_has_not_said_yet_where_it_serves_is_named_by_its_pid(own_home: Path) -> None:
    with held_home(print):
        said = holder(own_home)

    assert said == f"process {os.getpid()}"


def test_a_kill_frees_the_home(own_home: Path) -> None:
    code = "from webapp.serve.holding import held_home\nwith held_home(print): print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        assert holder(own_home) == f"process {first.pid}"

        first.kill()
        first.wait()

    with held_home(print):
        assert holder(own_home) == f"process {os.getpid()}"


def test_the_home_and_what_is_kept_about_it_are_its_owners_alone(own_home: Path) -> None:
    with held_home(print) as hold:
        hold.remember_services([os.getpid()])

        modes = [(own_home / name).stat().st_mode & 0o066 for name in ("", LOCK, STARTED)]

    assert modes[:2] == [0, 0]
    assert not (own_home / STARTED).exists()


def test_services_that_a_killed_holder_has_left_are_ended_with_their_children(own_home: Path, service: Callable[[Path], Service]) -> None:
    first, second = service(own_home), service(own_home)
    leave(own_home, first[0], second[0])
    second[0].kill()  # its child is alone in its session now
    wait_for(lambda: not is_alive(second[0]), what="the end of a service")
    said: list[str] = []

    with held_home(said.append) as hold:
        assert hold.has_started_servers

    assert [is_alive(process) for process in (*first, *second)] == [False] * 4
    assert said == [f"Ending 3 processes that an earlier serve of {own_home} left running."]


def test_a_pid_that_another_program_has_by_now_is_left_alone(own_home: Path, service: Callable[[Path], Service]) -> None:
    stranger = service(own_home)
    leave(own_home, stranger[0], shift=-3600.0)

    with held_home(print):
        pass

    assert [is_alive(process) for process in stranger] == [True, True]


def test_services_of_another_home_are_left_alone(own_home: Path, service: Callable[[Path], Service], tmp_path: Path) -> None:
    others = service(tmp_path / "other")
    started = {others[0].pid: others[0].create_time()}

    assert processes_left(started, own_home) == []
    assert processes_left(started, tmp_path / "other") == list(others)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"'])
def test_a_damaged_file_of_what_was_started_keeps_nobody_from_starting(text: str, own_home: Path) -> None:
    own_home.mkdir()
    (own_home / STARTED).write_text(text)

    with held_home(print) as hold:
        assert not hold.has_started_servers


def test_a_lock_that_is_looked_at_is_not_taken(own_home: Path) -> None:
    with held_home(print):
        pass

    assert holder(own_home) is None
    with (own_home / LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_ends_again_and_again_is_given_up_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "thing.log"
    log.write_text("".join(f"line {number}\n" for number in range(20)))
    lives = Lives("thing", log)

    def live_shortly() -> None:
        lives.begin()
        lives.end()

    for _ in range(SHORT_LIVES - 1):
        live_shortly()
    with pytest.raises(ServeError) as given_up:
        live_shortly()

    assert str(given_up.value).splitlines() == [
        f"thing ended 5 times in a row right after its start. The end of {log}:",
        *(f"line {number}" for number in range(5, 20)),
    ]


def test_one_long_life_makes_up_for_short_ones(tmp_path: Path) -> None:
    lives = Lives("thing", tmp_path / "no.log")

    for started in [0.0] * (SHORT_LIVES - 1) + [-3600.0] + [0.0] * (SHORT_LIVES - 1):
        lives.begin()
        lives.started += started
        lives.end()

    assert lives.short == SHORT_LIVES - 1
