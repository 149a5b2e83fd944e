"""Benchmarks: all of them are run by one command, and one that can't compare says what is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACE = "benchmarks/place.py"  # where they work
WITHOUT = "import runpy, sys; sys.modules[sys.argv.pop(1)] = None; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
"""Runs a program as if a package were not installed."""


def test_make_bench_runs_every_benchmark() -> None:
    shown = subprocess.run(["make", "bench", "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    every = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "benchmarks").rglob("*.py"))

    line = next(line for line in shown.splitlines() if "for benchmark in" in line)
    assert line.partition(" in ")[2].partition(";")[0].split() == [path for path in every if path != PLACE]


@pytest.mark.parametrize(("peer", "package", "program"), [("TRL", "trl", "gkd_against_trl"), ("Opacus", "opacus", "dp_opd_against_opacus")])
def test_a_benchmark_whose_peer_is_not_installed_says_how_to_install_it_and_exits_with_two(peer: str, package: str, program: str) -> None:
    command = [sys.executable, "-c", WITHOUT, package, f"benchmarks/engine/{program}.py"]

    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"This benchmark compares with {peer}, which is not installed: python -m pip install {package}.\n"
