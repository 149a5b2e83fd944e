"""What the documents say is true: the reference is fresh, links lead somewhere, and the commands that they show run."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "engine").rglob("README.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (str(page.relative_to(ROOT)), body)
        for page in PAGES
        for kind, body in FENCE.findall(page.read_text(encoding="utf-8"))
        if kind == language
    ]


WITH_DOCKER = "docs/how-to/operate-with-docker.md"  # no Docker engine is at hand; tests/docker checks those commands
# They need a pretrained model of 93 MB and minutes to hours; the models' loading is tested with small stand-ins.
WITH_SMOLLM2 = {"docs/how-to/use-a-pretrained-language-model.md", "docs/how-to/convert-a-model-to-latent-attention.md"}
WITH_MINILM = "docs/how-to/use-a-pretrained-encoder.md"  # likewise: 83 MB and minutes
SCRIPTS = [(page, body) for page, body in blocks("sh") if page not in {WITH_DOCKER, *WITH_SMOLLM2, WITH_MINILM}]
RUN_ELSEWHERE = {".venv/bin/pre-commit install"}  # it changes the checkout that it is run in


def commands(script: str, *, of_make: bool) -> list[str]:
    return [line for line in script.splitlines() if line.strip() and line.startswith("make ") == of_make and line not in RUN_ELSEWHERE]


MAKE = sorted({line for _, script in SCRIPTS for line in commands(script, of_make=True)})
OTHERS = sorted({(page, "\n".join(lines)) for page, script in SCRIPTS if (lines := commands(script, of_make=False))})


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """A home of its own, as a newcomer has it."""
    with tempfile.TemporaryDirectory(prefix="stillhouse-test-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        own = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
        own |= {"STILLHOUSE_HOME": folder, "DJANGO_SUPERUSER_PASSWORD": "for-this-test", "HOME": folder}
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=own, check=True, timeout=120)
        yield own
        subprocess.run([sys.executable, "-m", "webapp.servers", "stop"], cwd=ROOT, env=own, check=True, timeout=60)


def test_the_reference_and_the_drawings_are_fresh() -> None:
    ended = subprocess.run([sys.executable, "-m", "docs.generate", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_stale_page_is_named(tmp_path: Path) -> None:
    # A copy, so that the real page stays as it is.
    copy = tmp_path / "copy"
    copy.mkdir()
    for room in ("docs", "engine", "webapp", "workers", "templates"):
        (copy / room).symlink_to(ROOT / room)
    (copy / "docs").unlink()
    subprocess.run(["cp", "-r", str(ROOT / "docs"), str(copy / "docs")], check=True)
    page = copy / "docs" / "reference" / "environment.md"
    page.write_text(page.read_text().replace("STILLHOUSE_STORE", "STILLHOUSE_SHOP"))

    ended = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(copy)},
    )

    assert (ended.returncode, ended.stderr) == (1, "stale: docs/reference/environment.md; run make docs\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    targets = [
        target for target in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target and not target.startswith("mailto:")
    ]

    missing = [target for target in targets if not (page.parent / target).exists()]

    assert missing == []


@pytest.mark.parametrize("command", MAKE)
def test_every_make_command_that_is_shown_is_a_target(command: str) -> None:
    ended = subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(("page", "script"), OTHERS, ids=[script.partition("\n")[0] for _, script in OTHERS])
def test_every_command_that_is_shown_runs(page: str, script: str, environment: dict[str, str]) -> None:
    # First the folder of temporary files: the interpreter may itself lie in one.
    real = script.replace("/tmp/", f"{environment['STILLHOUSE_HOME']}/").replace(".venv/bin/python", sys.executable)
    real = real.replace("createsuperuser", "createsuperuser --noinput --username first --email first@example.org")

    ended = subprocess.run(
        ["bash", "-ec", real], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
    )

    assert ended.returncode == 0, f"{page}\n{ended.stdout}{ended.stderr}"


def test_each_decision_says_what_was_decided_weighed_and_what_would_change_it() -> None:
    notes = sorted((ROOT / "docs" / "decisions").glob("0*.md"))

    for note in notes:
        parts = re.findall(r"^\*\*(.+?)\.\*\*", note.read_text(), re.MULTILINE)
        assert parts == ["Decided", "Why", "Weighed", "Would change our mind"], note.name
    assert len(notes) >= 5
