"""Rules that hold for the whole project, so that no reviewer has to remember them."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("engine", "webapp", "workers")
VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "manager", "managers", "misc"}


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def sources(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked() -> dict[str, str]:
    lines = [*(ROOT / "requirements.lock").read_text().splitlines(), *(ROOT / "requirements-nodeps.lock").read_text().splitlines()]
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(len(r.specifier) == 1 and str(r.specifier).startswith("==") for r in requirements)
    return {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in requirements}


def test_no_file_names_the_address_of_a_package_server() -> None:
    # Put together here, so that this file does not find itself.
    forbidden = re.compile(
        "|".join(
            [
                "--(extra-)?index" + "-url",
                "--find" + "-links",
                "--trusted" + "-host",
                r"files\.python" + "hosted",
                r"pypi\." + "org",
                r"registry\.npm" + "js",
            ]
        )
    )

    # The CPU image can't take torch from anywhere else: the public index has its CUDA build only. The image's own test holds the address.
    public = "https://download." + "pytorch.org/whl/cpu"

    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in tracked_files()
        if path.suffix not in {".png", ".woff2", ".ico"} and "vendor" not in path.parts
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if forbidden.search(line) and public not in line
    ]

    assert found == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    names = {path.stem for path in sources(*ROOMS, "tests", "benchmarks")} | {path.parent.name for path in sources(*ROOMS)}

    assert names & VAGUE == set()


@pytest.mark.parametrize("module", ["webapp.asgi", "webapp.urls", "webapp.servers", "webapp.serve", "webapp.demo"])
def test_the_web_starts_without_torch(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'sklearn', 'engine.run.runner'}} & set(sys.modules)))"
    if module == "webapp.urls":
        code = f"import os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'webapp.settings'; django.setup(); {code}"

    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert (ended.returncode, ended.stdout) == (0, "[]\n"), ended.stderr


def test_the_engine_starts_without_the_web() -> None:
    code = "import sys, engine.run.runner; print(sorted({'django', 'celery', 'psycopg', 'redis', 'webapp', 'workers'} & set(sys.modules)))"

    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert (ended.returncode, ended.stdout) == (0, "[]\n"), ended.stderr


def test_every_package_that_is_imported_is_declared() -> None:
    provides = {
        "annotated_types": "pydantic", "authlib": "Authlib", "celery": "celery", "csp": "django-csp", "axes": "django-axes", "django": "Django", "django_filters": "django-filter", "django_htmx": "django-htmx", "django_otp": "django-otp", "joserfc": "Authlib",
        "django_stubs_ext": "django-stubs-ext", "drf_spectacular": "drf-spectacular", "httpx": "httpx", "kombu": "celery", "latex2mathml": "latex2mathml",
        "markdown": "Markdown", "mlxtend": "mlxtend", "nh3": "nh3", "numpy": "numpy", "PIL": "pillow", "plotly": "plotly", "prometheus_client": "prometheus-client", "psutil": "psutil",
        "psycopg": "psycopg", "pydantic": "pydantic", "pydantic_core": "pydantic", "redis": "celery", "rest_framework": "djangorestframework", "rich": "rich",
        "safetensors": "safetensors", "scipy": "scipy", "sklearn": "scikit-learn", "torch": "torch",
        "tsdownsample": "tsdownsample", "uvicorn": "uvicorn", "whitenoise": "whitenoise", "asgiref": "Django", "zipstream": "zipstream-ng",
    }  # fmt: skip
    facts = project()
    extras = facts["optional-dependencies"]
    lines = [*facts["dependencies"], *extras["mnist"]]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}

    undeclared = set()
    for path in sources(*ROOMS):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for top in {module.partition(".")[0] for module in modules} - set(ROOMS) - sys.stdlib_module_names - {"__future__", ""}:
                if canonicalize_name(provides.get(top, top)) not in declared:
                    undeclared.add(f"{top} in {path.relative_to(ROOT)}")

    assert undeclared == set()


def test_the_lock_pins_what_the_project_asks_for() -> None:
    facts, pins = project(), locked()
    extras = facts["optional-dependencies"]

    wrong = []
    for line in [*facts["dependencies"], *extras["dev"], *extras["mnist"]]:
        requirement = Requirement(line)
        pin = pins.get(canonicalize_name(requirement.name))
        if pin is None or not requirement.specifier.contains(pin, prereleases=True):
            wrong.append(f"{line}: {pin}")

    assert wrong == []


def test_torch_is_pinned_without_the_mark_of_a_build() -> None:
    assert locked()["torch"] == "2.13.0"


def test_every_make_target_says_what_it_does() -> None:
    helped = subprocess.run(["make", "--silent", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert {line.split()[0] for line in helped.splitlines()} == {
        "help", "venv", "demo", "serve", "servers", "test", "check", "fix", "docs", "bench", "lock", "clean",
    }  # fmt: skip


def test_continuous_integration_runs_what_a_person_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text()

    assert script.splitlines()[-1] == "exec make check test"
