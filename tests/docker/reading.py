"""Dockerfiles and Compose files, read as Docker would. No Docker engine is needed; where Compose is installed, it does the reading itself."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKER = ROOT / "docker"
IMAGES = ("web", "worker", "worker.cuda")


class Refused(Exception):
    """A Compose file misses a variable."""


@dataclass(frozen=True)
class Image:
    """A Dockerfile as (instruction, rest of the line), in order."""

    lines: Sequence[tuple[str, str]]

    def all(self, instruction: str) -> list[str]:
        return [rest for name, rest in self.lines if name == instruction]

    def last(self, instruction: str) -> str:
        return self.all(instruction)[-1]

    @property
    def command(self) -> list[str]:
        return json.loads(self.last("CMD"))

    @property
    def health(self) -> list[str]:
        return json.loads(self.last("HEALTHCHECK").partition("CMD ")[2])

    @property
    def environment(self) -> dict[str, str]:
        return dict(word.split("=", 1) for line in self.all("ENV") for word in shlex.split(line))

    @property
    def copied(self) -> list[str]:
        """Paths that COPY takes from the project."""
        return [source for line in self.all("COPY") for source in shlex.split(line)[:-1]]


def image(name: str) -> Image:
    """docker/<name>.Dockerfile."""
    text = (DOCKER / f"{name}.Dockerfile").read_text(encoding="utf-8")
    without_comments = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    whole_lines = re.sub(r"\\\n\s*", " ", without_comments).splitlines()
    return Image([(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in whole_lines if line.strip()])


def compose(*files: str, variables: dict[str, str]) -> dict[str, Any]:
    """What the files in docker/ say together, with variables filled in. Raises Refused with the message of a required one that is missing."""
    if (program := shutil.which("docker")) and _run(program, "compose", "version").returncode == 0:
        return _by_compose(program, files, variables)
    return _by_reading(files, variables)


def variables_of(file: str) -> set[str]:
    """Names that a file in docker/ asks the environment for."""
    return set(re.findall(r"\$\{(\w+)", (DOCKER / file).read_text(encoding="utf-8")))


def _by_compose(program: str, files: Sequence[str], variables: dict[str, str]) -> dict[str, Any]:
    names = [word for file in files for word in ("--file", str(DOCKER / file))]
    answer = _run(
        program, "compose", *names, "--env-file", "/dev/null", "--profile", "*", "config", "--format", "json",
        env={name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_CONFIG") if name in os.environ} | variables,
    )  # fmt: skip
    if answer.returncode != 0:
        raise Refused(answer.stderr)
    return json.loads(answer.stdout)


def _by_reading(files: Sequence[str], variables: Mapping[str, str]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for file in files:
        content = yaml.safe_load((DOCKER / file).read_text(encoding="utf-8"))
        kept = {key: value for key, value in content.items() if not key.startswith("x-")}
        merged = _merge(merged, _filled_in(kept, variables))
    return merged


def _merge(first: Any, second: Any) -> Any:
    if isinstance(first, dict) and isinstance(second, dict):
        return first | {key: _merge(first.get(key), value) for key, value in second.items()}
    return second


def _filled_in(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled_in(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled_in(each, variables) for each in value]
    return re.sub(r"\$\{(\w+)(?::([-?])([^}]*))?\}", lambda m: _value_of(m, variables), value) if isinstance(value, str) else value


def _value_of(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name, operator, rest = found.groups()
    if given := variables.get(name):
        return given
    if operator == "?":
        raise Refused(f"required variable {name} is missing a value: {rest}")
    return rest or ""


def _run(*words: str, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, capture_output=True, text=True, check=False, env=env)
