"""Stillhouse on one machine, as a person starts it: serve, the README's notebook, and the demo."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
import redis

from tests.processes import Program
from tests.waiting import wait_for
from webapp import serve, servers

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """A home of its own, with nothing in it."""
    with tempfile.TemporaryDirectory(prefix="stillhouse-test-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        own = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
        for name in ("STILLHOUSE_DEBUG", "STILLHOUSE_SECRET_KEY"):
            own.pop(name, None)  # as a newcomer starts it
        yield own | {"STILLHOUSE_HOME": folder, "STILLHOUSE_CPU_SLOTS": "2", "PYTHONUNBUFFERED": "1"}


def processes_of(home: str) -> dict[str, list[psutil.Process]]:
    """What runs with this home, by kind."""
    found: dict[str, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            command = " ".join(process.cmdline())
            if process.environ().get("STILLHOUSE_HOME") == home or f"{home}/" in command:
                kinds = ("webapp.serve", "uvicorn", "beat", "worker", "postgres", "valkey")
                found.setdefault(next((kind for kind in kinds if kind in command), "other"), []).append(process)
        except (psutil.Error, OSError):
            continue
    return found


class Serving(Program):
    """`python -m webapp.serve`, and its address once it has said it."""

    def __init__(self, environment: dict[str, str]) -> None:
        super().__init__(["-m", "webapp.serve", "--port", str(serve.free_port("127.0.0.1", 18000))], environment)
        wait_for(lambda: "Ctrl-C to stop" in self.output or not self.is_running(), seconds=60, what="the address")
        found = re.search(r"^Stillhouse: (http://\S+)", self.output, re.MULTILINE)
        self.address = found[1] if found is not None else ""


@pytest.fixture(scope="module")
def shared(environment: dict[str, str]) -> Iterator[list[Serving]]:
    """The one that all tests look at, started when the first of them asks for it."""
    shared: list[Serving] = []
    yield shared
    for serving in shared:
        serving.end()


@pytest.fixture
def own(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`servers` in the test are those of this home."""
    monkeypatch.setenv("STILLHOUSE_HOME", environment["STILLHOUSE_HOME"])
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def serving(shared: list[Serving], environment: dict[str, str]) -> Serving:
    """Started again where a test has ended it."""
    if not shared or not shared[0].is_running():
        shared[:] = [Serving(environment)]
    assert shared[0].address, shared[0].output
    return shared[0]


def pids_of(home: str) -> dict[str, list[int]]:
    """What keeps running for as long as nothing ends: by kind, the first process of each."""
    return {kind: min((p.create_time(), p.pid) for p in found)[1:] for kind, found in processes_of(home).items() if kind != "other"}


def is_well(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def database_is_well(address: str) -> bool:
    """Whether a token is one, only the database knows."""
    try:
        return httpx.get(f"{address}/api/v1/methods/", headers={"Authorization": "Bearer shp_unknown"}, timeout=5).status_code == 401
    except httpx.HTTPError:
        return False


def start_another(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )


def token_of_a_new_account(environment: dict[str, str]) -> str:
    code = "from webapp.demo import make_account; print(make_account().token)"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def test_a_killed_worker_and_a_killed_web_server_are_started_again(serving: Serving, environment: dict[str, str]) -> None:
    home = environment["STILLHOUSE_HOME"]
    before = {kind: wait_for(lambda kind=kind: processes_of(home).get(kind), what=kind)[0].pid for kind in ("uvicorn", "worker")}

    for pid in before.values():
        os.kill(pid, signal.SIGKILL)

    for kind, pid in before.items():
        wait_for(lambda kind=kind, pid=pid: [p for p in processes_of(home).get(kind, []) if p.pid != pid], what=f"a new {kind}")

    wait_for(lambda: is_well(serving.address), what="the web server's answer")


@pytest.mark.parametrize("killed", [{"PostgreSQL"}, {"Valkey"}, {"PostgreSQL", "Valkey"}])
def test_killed_servers_are_started_again(killed: set[str], serving: Serving, environment: dict[str, str], own: None) -> None:
    dead: set[int] = set()
    heard = len(serving.lines)

    def has_noticed() -> bool:
        said = "".join(serving.lines[heard:])
        missing = [
            server for server in servers.status() if server.name in killed and f"{server.name} ended; starting it again." not in said
        ]
        for server in missing:
            if server.pid is not None and server.pid not in dead:  # the second time where a worker that starts was faster
                dead.add(server.pid)
                os.kill(server.pid, signal.SIGKILL)
        return not missing

    wait_for(has_noticed, seconds=10, what=f"another {' and '.join(sorted(killed))}")
    wait_for(lambda: all(server.pid and server.pid not in dead for server in servers.status()), what="new servers")
    wait_for(lambda: is_well(serving.address) and database_is_well(serving.address), what="the web server's answer")


def test_servers_that_somebody_stops_beside_it_are_started_again_and_the_person_is_told(
    serving: Serving, environment: dict[str, str], own: None
) -> None:
    stopped = start_another(environment, "webapp.servers", "stop")

    assert stopped.stdout == f"Stopped. But process {serving.pid} at {serving.address} serves this home, and starts them again.\n"
    wait_for(lambda: is_well(serving.address) and database_is_well(serving.address), what="the web server's answer")
    assert start_another(environment, "webapp.servers", "status").returncode == 0


@pytest.mark.parametrize("arguments", [["webapp.serve"], ["webapp.serve", "--port", "18999"], ["webapp.demo"]])
def test_a_second_one_of_the_same_home_is_refused_and_the_first_is_not_disturbed(
    arguments: list[str], serving: Serving, environment: dict[str, str]
) -> None:
    home = environment["STILLHOUSE_HOME"]
    wait_for(lambda: len(pids_of(home)) == 6, what="all services")
    before = pids_of(home)

    second = start_another(environment, *arguments)

    assert (second.returncode, second.stderr) == (
        1,
        f"{home} is served already, by process {serving.pid} at {serving.address}; end that first, or choose another STILLHOUSE_HOME.\n",
    )
    assert is_well(serving.address)
    assert pids_of(home) == before


def test_a_taken_port_is_named_before_anything_is_started(serving: Serving, environment: dict[str, str], tmp_path: Path) -> None:
    port = serving.address.rpartition(":")[2]
    home = tmp_path / "another"

    refused = start_another(environment | {"STILLHOUSE_HOME": str(home)}, "webapp.serve", "--port", port)

    assert (refused.returncode, refused.stderr) == (
        1,
        f"--port {port}: can't listen on 127.0.0.1 there (Address already in use); give another port, or leave it out.\n",
    )
    assert [path.name for path in home.iterdir()] == ["serve.lock"]


def test_another_address_is_refused_without_a_production_configuration(environment: dict[str, str], tmp_path: Path) -> None:
    bare = {name: value for name, value in environment.items() if not name.startswith("STILLHOUSE_")}

    refused = start_another(bare | {"STILLHOUSE_HOME": str(tmp_path / "new")}, "webapp.serve", "--host", "0.0.0.0")

    assert (refused.returncode, refused.stderr) == (
        1,
        "--host 0.0.0.0: other machines could reach it, so set STILLHOUSE_SECRET_KEY to a long random text of your own and STILLHOUSE_HOSTS to the host names that people type; or leave --host out.\n",
    )
    assert not (tmp_path / "new").exists()


def test_a_newcomer_needs_no_configuration_and_gets_no_secret_that_others_know(serving: Serving, environment: dict[str, str]) -> None:
    answer = httpx.get(f"{serving.address}/sign-in/")

    assert (answer.status_code, answer.has_redirect_location) == (200, False)
    kept = Path(environment["STILLHOUSE_HOME"]) / "secret-key"
    assert len(kept.read_text().strip()) >= 50
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o066 == 0


def test_what_a_killed_one_leaves_is_ended_by_the_next_which_uses_its_servers_and_stops_them(
    shared: list[Serving], serving: Serving, environment: dict[str, str], own: None
) -> None:
    home = environment["STILLHOUSE_HOME"]
    wait_for(lambda: len(pids_of(home)) == 6, what="all services")
    left = [process for kind in ("uvicorn", "worker", "beat", "other") for process in processes_of(home).get(kind, [])]
    before = [server.pid for server in servers.status()]
    serving.kill()

    shared[:] = [Serving(environment)]

    assert [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []
    assert [server.pid for server in servers.status()] == before
    assert is_well(shared[0].address)
    assert shared[0].stop(seconds=60) == 0
    wait_for(lambda: not processes_of(home), what="the end of every process")


def test_a_server_that_ends_again_and_again_ends_it_with_a_sentence_and_its_log(
    serving: Serving, environment: dict[str, str], own: None
) -> None:
    def is_over() -> bool:
        with suppress(redis.ConnectionError), redis.Redis.from_url(servers.addresses().redis_url, retry=None) as client:
            client.ping()  # so that its start is over, and the next end counts
            valkey = servers.status()[1]
            if valkey.pid is not None:
                os.kill(valkey.pid, signal.SIGKILL)
        return not serving.is_running()

    wait_for(is_over, what="the end of serve")

    log = Path(environment["STILLHOUSE_HOME"]) / "servers" / "log" / "valkey.log"
    assert serving.stop() == 1
    serving.end()
    _, _, end = serving.output.partition(f"Valkey ended 5 times in a row right after its start. The end of {log}:\n")
    assert len(end.splitlines()) == 15
    wait_for(lambda: not processes_of(environment["STILLHOUSE_HOME"]), what="the end of every process")


def test_a_server_that_does_not_start_any_more_ends_it_with_its_log(serving: Serving, environment: dict[str, str], own: None) -> None:
    options = servers.places().data / "postgresql.auto.conf"
    before = options.read_text()
    options.write_text("no_such_option = 1\n")
    try:
        os.kill(servers.status()[0].pid, signal.SIGKILL)

        wait_for(lambda: not serving.is_running(), what="the end of serve")
    finally:
        options.write_text(before)

    assert serving.stop() == 1
    serving.end()
    assert "no_such_option" in serving.output.partition("\nPostgreSQL did not start. The end of ")[2]
    wait_for(lambda: not processes_of(environment["STILLHOUSE_HOME"]), what="the end of every process")


def test_the_notebook_of_the_readme_runs(serving: Serving, environment: dict[str, str]) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code is not None
    lines = code[1].replace("http://localhost:8000", serving.address).replace("shp_…", token_of_a_new_account(environment))

    ended = subprocess.run([sys.executable, "-c", lines], cwd="/", env=environment, capture_output=True, text=True, timeout=180)

    assert ended.returncode == 0, ended.stderr
    found = eval(ended.stdout)
    mean, deviation = found["Accuracy"]
    assert 0.5 < mean <= 1
    assert deviation >= 0


def test_sigterm_ends_all_that_serve_has_started(serving: Serving, environment: dict[str, str]) -> None:
    code = serving.stop(seconds=60)

    assert code == 0
    wait_for(lambda: not processes_of(environment["STILLHOUSE_HOME"]), what="the end of every process")


def test_the_demo_prints_the_comparison_and_leaves_nothing_running(environment: dict[str, str], shared: list[Serving]) -> None:
    for serving in shared:
        serving.end()  # it has the same home

    ended = subprocess.run(
        [sys.executable, "-m", "webapp.demo", "--seeds", "1"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert ended.returncode == 0, ended.stderr
    assert "Accuracy ↑" in ended.stdout
    assert re.search(r"^Compare: http://localhost:\d+/p/demo/compare/\?runs=[0-9a-f,-]+&baseline=[0-9a-f-]+$", ended.stdout, re.MULTILINE)
    assert re.search(r"^Sign in: demo, password \S+$", ended.stdout, re.MULTILINE)
    assert processes_of(environment["STILLHOUSE_HOME"]) == {}


def test_the_demo_refuses_too_many_seeds(environment: dict[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "webapp.demo", "--seeds", "6"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )

    assert ended.returncode == 2
    assert ended.stderr.endswith("--seeds must be from 1 to 5; got 6\n")
