"""The session of all tests says what it ran and is red when something was left out or left running."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.lanes import FAULTS_LANE, PROGRAMS_LANE, REDIS_URLS, lane_of

ROOT = Path(__file__).resolve().parents[2]
GREEN = "def test_green():\n    pass\n"
SKIPPED = "import pytest\n\ndef test_skipped():\n    pytest.skip('not today')\n"
LEAVES = "import os\n\ndef test_leaves_a_program():\n    os.system('sleep 300 &')\n"


REDIS = """
import os, pathlib
import pytest

@pytest.mark.parametrize("number", range(6))
def test_writes_its_address(number):
    name = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    pathlib.Path(__file__).with_name(f"redis-{name}").write_text(os.environ["REDIS_URL"])
"""


def session(folder: Path, processes: int, more: dict[str, str] | None = None, **files: str) -> "subprocess.CompletedProcess[str]":
    """Runs files of tests as `make test` runs its own."""
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("STILLHOUSE_", "DJANGO_", "PYTEST_"))}
    command = ["-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "-p", "tests.conftest", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, *command, "--numprocesses", str(processes), str(folder)],
        cwd=ROOT,
        env=own | {"PYTHONDONTWRITEBYTECODE": "1"} | (more or {}),
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_a_session_of_two_processes_counts_what_ran_and_a_skipped_test_makes_it_red(tmp_path: Path) -> None:
    ended = session(tmp_path, 2, green=GREEN, skipped=SKIPPED)

    assert ended.returncode == 1, ended.stdout
    assert "1 passed, 1 skipped" in ended.stdout
    assert "Ran by what they need: nothing 2, servers 0, browser 0, gpu 0." in ended.stdout
    assert "A skipped test makes the run red: nothing is left out in silence." in ended.stdout


def test_a_program_that_a_test_left_running_is_named_and_makes_the_session_red(tmp_path: Path) -> None:
    ended = session(tmp_path, 0, green=GREEN, leaves=LEAVES)

    assert ended.returncode == 1, ended.stdout
    assert "2 passed, 1 error" in ended.stdout
    assert "AssertionError: the tests left processes running:" in ended.stdout
    assert "sleep 300" in ended.stdout


def test_on_servers_that_others_share_each_process_has_a_redis_database_of_its_own(tmp_path: Path) -> None:
    ended = session(tmp_path, 2, {REDIS_URLS: "redis://127.0.0.1:1/14 redis://127.0.0.1:1/13"}, one=REDIS, other=REDIS)

    assert ended.returncode == 0, ended.stdout
    assert {path.name: path.read_text() for path in tmp_path.glob("redis-*")} == {
        "redis-gw0": "redis://127.0.0.1:1/14",
        "redis-gw1": "redis://127.0.0.1:1/13",
    }


def test_what_starts_workers_or_web_servers_is_in_one_of_two_lanes() -> None:
    starts = re.compile(r"processes\.(web|worker|beat)\(|\bstart_worker\b|\bopen_page\b")

    files = [str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py") if starts.search(path.read_text())]

    assert len(files) >= 5
    assert [file for file in files if lane_of(f"{file}::test_a[gkd]") not in {FAULTS_LANE, PROGRAMS_LANE}] == []


def test_a_files_tests_stay_together_and_the_sweeps_over_the_catalog_are_shared_out_by_method() -> None:
    assert lane_of("tests/webapp/test_live.py::test_a[x]") == lane_of("tests/webapp/test_live.py::test_b")
    assert lane_of("tests/webapp/test_live.py::test_a") != lane_of("tests/webapp/test_pages.py::test_a")
    sweep = "tests/engine/test_every_method.py"
    assert lane_of(f"{sweep}::test_a[gkd]") == lane_of(f"{sweep}::test_b[gkd]") != lane_of(f"{sweep}::test_a[pso]")
