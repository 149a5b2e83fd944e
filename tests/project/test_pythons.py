"""Every Python that the project allows gets what the lock pins: found by walking what the installed packages ask for, with that Python's markers."""

import ast
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = ["3.11", "3.12", "3.13"]
GONE_BY_THREE_THIRTEEN = {
    "aifc", "asynchat", "asyncore", "audioop", "cgi", "cgitb", "chunk", "crypt", "distutils", "imghdr", "imp", "lib2to3", "mailcap", "msilib", "nis",
    "nntplib", "ossaudiodev", "pipes", "smtpd", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib",
}  # fmt: skip


def locked(python: str) -> dict[str, str]:
    """Version by package, of the lines of the lock that this Python installs."""
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and not line.startswith("#")]
    found = [Requirement(line) for line in lines]
    environment = environment_of(python)
    return {canonicalize_name(r.name): str(r.specifier)[2:] for r in found if r.marker is None or r.marker.evaluate(environment)}


def environment_of(python: str, extra: str = "") -> dict[str, str]:
    return {**default_environment(), "python_version": python, "python_full_version": f"{python}.9", "extra": extra}


def asked_for(python: str) -> dict[str, list[Requirement]]:
    """All requirements that apply to a package on this Python, from the project's own to those of the last package."""
    found: dict[str, list[Requirement]] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        found.setdefault(name, []).append(wanted)
        for extra in {"", *wanted.extras} - {e for n, e in seen if n == name}:
            seen.add((name, extra))
            lines = metadata.requires(name) or [] if is_installed(name) else []
            waiting += [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate(environment_of(python, extra))]
    return found


def is_installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def test_the_project_allows_three_pythons() -> None:
    allowed = SpecifierSet(PROJECT["requires-python"])

    assert [python for python in ("3.10", *PYTHONS, "3.14") if python in allowed] == PYTHONS


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_has_all_that_any_package_asks_for(python: str) -> None:
    pins = locked(python)

    # torch asks for CUDA's packages, or not, by its build; the lock is without the mark of one.
    of_cuda = ("nvidia", "cuda", "triton")
    lacking = {
        name: str(one)
        for name, wanted in asked_for(python).items()
        for one in wanted
        if not name.startswith(of_cuda) and (name not in pins or not one.specifier.contains(pins[name], prereleases=True))
    }

    assert lacking == {}
    assert len(asked_for(python)) > 100


@pytest.mark.parametrize("python", PYTHONS)
def test_every_package_of_the_lock_says_that_it_runs_there(python: str) -> None:
    installed = [(name, metadata.metadata(name)["Requires-Python"]) for name in locked(python) if is_installed(name)]

    assert [pair for pair in installed if pair[1] and f"{python}.9" not in SpecifierSet(pair[1])] == []
    assert len(installed) > 100


def test_nothing_is_imported_that_a_newer_python_lacks() -> None:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()

    found = [
        f"{path}: {name}"
        for path in listed
        if (ROOT / path).exists()
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.partition(".")[0] in GONE_BY_THREE_THIRTEEN
    ]

    assert found == []
    assert len(listed) > 300


def test_no_text_has_an_escape_that_a_newer_python_complains_of() -> None:
    rooms = ["engine", "webapp", "workers", "tests", "docs", "benchmarks", "docker", "manage.py"]

    compiled = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import pathlib, sys; [compile(p.read_bytes(), str(p), 'exec') for r in sys.argv[1:] for p in [*pathlib.Path(r).rglob('*.py'), *[pathlib.Path(r)] * r.endswith('.py')]]", *rooms],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert (compiled.returncode, compiled.stderr) == (0, "")


def test_make_takes_whichever_of_them_there_is(tmp_path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for name, version in {"python3": (3, 14), "python3.12": (3, 12)}.items():
        fake = tmp_path / name
        fake.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = {version}; exec(sys.argv[1])" "$2"\n')
        fake.chmod(0o755)

    said = subprocess.run(
        [shutil.which("make"), "--silent", "--file", "-", "shown"], input=f"{makefile}\nshown:\n\t@echo \"$(PYTHON)\"\n", cwd=ROOT, env={"PATH": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert said.stdout == "python3.12\n"
