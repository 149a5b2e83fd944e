"""What a process logs: in which form, about which run, and how much of it is kept. Each in a process of its own, as the settings set it up."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.processes import ROOT
from webapp import logs

RUN = UUID(int=7)
BEGIN = "import logging, os, sys, threading, uuid; from webapp import logs; import django; django.setup(); say = logging.getLogger('workers.supervisor')\n"
MEGABYTE = 2**20


def run(code: str, environment: dict[str, str], *, output: Any = subprocess.PIPE) -> str:
    """What a process with these settings says, on both of its outputs. It must end well."""
    words = [sys.executable, "-c", BEGIN + code]
    ended = subprocess.run(
        words, cwd=ROOT, env=environment | {"DJANGO_SETTINGS_MODULE": "webapp.settings"}, stdout=output, stderr=subprocess.STDOUT, text=True
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout or ""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "STILLHOUSE_HOME": str(tmp_path), "STILLHOUSE_DEBUG": "on", "PYTHONUNBUFFERED": "1"}


def test_a_line_says_when_how_bad_who_and_what(environment: dict[str, str]) -> None:
    said = run("say.warning('The %s is late.', 'worker')", environment)

    date, hour, *rest = said.split(" ")
    assert (len(date), len(hour), " ".join(rest)) == (10, 12, "WARNING workers.supervisor: The worker is late.\n")


def test_a_line_within_a_run_names_it_and_its_attempt(environment: dict[str, str]) -> None:
    said = run(f"with logs.about(uuid.UUID('{RUN}'), 2): say.info('It goes on.')\nsay.info('All is done.')", environment)

    first, second = said.splitlines()
    assert first.endswith(f"workers.supervisor: It goes on. [run {RUN}, attempt 2]")
    assert second.endswith("workers.supervisor: All is done.")


def test_json_has_one_object_a_line_with_run_and_attempt_as_fields(environment: dict[str, str]) -> None:
    code = f"with logs.about(uuid.UUID('{RUN}'), 2): say.info('two\\nlines')\nsay.warning('lost', extra=dict(run='r'))"

    first, second = (json.loads(line) for line in run(code, environment | {"STILLHOUSE_LOG_FORMAT": "JSON"}).splitlines())

    assert first.pop("at").endswith("+00:00")
    assert first == {"level": "INFO", "logger": "workers.supervisor", "message": "two\nlines", "run": str(RUN), "attempt": 2}
    assert (second["run"], "attempt" in second) == ("r", False)


def test_a_traceback_stays_within_its_object(environment: dict[str, str]) -> None:
    code = "try: 1 / 0\nexcept ZeroDivisionError: say.exception('It broke.')"

    (line,) = run(code, environment | {"STILLHOUSE_LOG_FORMAT": "json"}).splitlines()

    assert json.loads(line)["traceback"].endswith("ZeroDivisionError: division by zero")


def test_after_a_run_a_thread_is_about_none_again() -> None:
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "said", None, None)
    with logs.about(RUN, 1), logs.about(RUN, 2):
        pass

    logs.AboutRun().filter(record)

    assert (getattr(record, "run"), getattr(record, "attempt")) == (None, None)  # noqa: B009


def test_a_file_and_what_is_printed_beside_it_are_bounded(environment: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    bounded = environment | {"STILLHOUSE_LOG_FILE": str(log), "STILLHOUSE_LOG_MEGABYTES": "1"}
    code = "for number in range(9_000): say.info('%d %s', number, 'x' * 950); print('y' * 50, number)"

    with log.open("ab") as output:
        run(code, bounded, output=output)

    files = sorted(tmp_path.glob("web.log*"))
    assert [each.name for each in files] == ["web.log", *(f"web.log.{number}" for number in range(1, logs.OLDER_FILES + 1))]
    assert all(each.stat().st_size <= 1.01 * MEGABYTE for each in files)
    last = log.read_text().splitlines()
    assert last[-2].endswith("x") and last[-1] == f"{'y' * 50} 8999"


def test_what_is_printed_elsewhere_stays_there(environment: dict[str, str], tmp_path: Path) -> None:
    bounded = environment | {"STILLHOUSE_LOG_FILE": str(tmp_path / "web.log"), "STILLHOUSE_LOG_MEGABYTES": "1"}

    printed = run("for number in range(2_000): say.info('x' * 950)\nprint('here')", bounded)

    assert printed == "here\n"
    assert (tmp_path / "web.log.1").exists()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("STILLHOUSE_LOG_FORMAT", "xml", "STILLHOUSE_LOG_FORMAT must be one of line, json; got 'xml'."),
        ("STILLHOUSE_LOG_LEVEL", "loud", "STILLHOUSE_LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL; got 'loud'."),
        ("STILLHOUSE_LOG_MEGABYTES", "0", "STILLHOUSE_LOG_MEGABYTES must be a whole number, at least 1; got '0'."),
    ],
)
def test_a_setting_that_is_none_is_refused_in_a_sentence(environment: dict[str, str], name: str, value: str, sentence: str) -> None:
    words = [sys.executable, "-c", "import webapp.settings"]

    ended = subprocess.run(words, cwd=ROOT, env=environment | {name: value}, capture_output=True, text=True)

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].endswith(sentence)


@pytest.mark.parametrize(("level", "shown"), [("INFO", False), ("DEBUG", True)])
def test_a_line_for_each_doorbell_is_there_for_who_looks_closely(environment: dict[str, str], level: str, shown: bool) -> None:
    code = "[logging.getLogger(name).info('Task received') for name in ('celery.worker.strategy', 'celery.app.trace', 'celery.beat')]"

    said = run(code, environment | {"STILLHOUSE_LOG_LEVEL": level})

    assert said.count("Task received") == 3 * shown


def test_uvicorns_lines_are_like_ours_at_its_own_level_and_its_access_log_stays_off(environment: dict[str, str]) -> None:
    code = """
import uvicorn
uvicorn.Config("webapp.asgi:application", log_level="warning", access_log=False).load()
logging.getLogger("uvicorn.error").info("routine")
logging.getLogger("uvicorn.error").warning("odd")
print(logging.getLogger("uvicorn.access").hasHandlers())
"""

    *lines, access = run(code, environment | {"STILLHOUSE_LOG_FORMAT": "json"}).splitlines()

    assert [json.loads(line)["message"] for line in lines if "uvicorn" in line] == ["odd"]
    assert access == "False"
