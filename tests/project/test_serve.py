"""Stillhouse on one machine, as a person starts it: serve, the README's notebook, and the demo."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.waiting import wait_for
from webapp import serve

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """A home of its own, with nothing in it."""
    with tempfile.TemporaryDirectory(prefix="stillhouse-test-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        own = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
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


class Serving:
    """`python -m webapp.serve`, and its address once it has said it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "webapp.serve", "--port", str(serve.free_port("127.0.0.1", 18000))],
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        said = re.search(r"http://\S+", self.process.stdout.readline())
        self.address = said[0] if said is not None else ""

    def end(self) -> int:
        """Asks it to end, as an operator does, and returns its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def shared(environment: dict[str, str]) -> Iterator[list[Serving]]:
    """The one that all tests look at, started when the first of them asks for it."""
    shared: list[Serving] = []
    yield shared
    for serving in shared:
        serving.end()


@pytest.fixture
def serving(shared: list[Serving], environment: dict[str, str]) -> Serving:
    """Started again where a test has ended it."""
    if not shared or shared[0].process.poll() is not None:
        shared[:] = [Serving(environment)]
    assert shared[0].address
    return shared[0]


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

    def answers() -> bool:
        try:
            return httpx.get(f"{serving.address}/healthz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    wait_for(answers, what="the web server's answer")


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
    code = serving.end()

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
