"""Where a benchmark works: the servers that the environment names (else the embedded ones), and a project that is deleted afterwards."""

import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
os.environ.setdefault("STILLHOUSE_DEBUG", "on")

if TYPE_CHECKING:
    from webapp.accounts.models import Project


PATIENCE = 60.0
"""Seconds that a client waits for an answer."""


@contextmanager
def project() -> Iterator["Project"]:
    """A project in a migrated database that knows the catalog. Its runs and their files are gone when the block ends."""
    import shutil

    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection

    from webapp import servers
    from webapp.accounts.models import Project, User

    logging.getLogger().setLevel(logging.WARNING)
    servers.ensure()
    call_command("migrate", verbosity=0)
    call_command("sync_catalog", verbosity=0)
    project = Project.objects.create(slug=f"benchmark-{os.getpid()}", name="Benchmark")
    try:
        yield project
    finally:
        runs = list(project.runs.values_list("pk", flat=True))
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM runs_metricpoint WHERE series_id IN (SELECT id FROM runs_metricseries WHERE run_id = ANY(%s))", [runs]
            )
        project.delete()
        User.objects.filter(username=project.slug).delete()
        for run_id in runs:
            shutil.rmtree(Path(settings.STORE) / "runs" / str(run_id), ignore_errors=True)


@contextmanager
def running(what: Literal["worker", "web"]) -> Iterator[str]:
    """A worker, or a web server, whose address is given; stopped when the block ends. It listens when the block begins."""
    import httpx

    from tests import processes

    port = processes.free_port()
    program = processes.worker(os.environ, slots=1) if what == "worker" else processes.web(os.environ, port)
    with program:
        deadline = time.monotonic() + 120
        while True:
            assert program.is_running() and time.monotonic() < deadline, f"the {what} does not listen:\n{program.output}"
            if what == "worker" and "ready." in program.output:
                break
            with suppress(httpx.TransportError):
                if what == "web" and httpx.get(f"http://127.0.0.1:{port}/api/v1/"):
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"


def authorization(project: "Project") -> dict[str, str]:
    """The header of a new person's token who may launch in the project."""
    from webapp.accounts import tokens
    from webapp.accounts.models import Role, Scope, User

    user = User.objects.create(username=project.slug)
    project.memberships.create(user=user, role=Role.OPERATOR)
    _, text = tokens.make(user, project, name="benchmark", scope=Scope.LAUNCH)
    return {"Authorization": f"Bearer {text}"}


class Visitor:
    """Somebody who loads pages one after the other, in a process of their own: a crowd that shared it would make them wait for its own work."""

    def __init__(self, address: str, pages: Sequence[str], cookie: str, *, at: str = "", pause: float = 0.0) -> None:
        headers = {"Cookie": cookie} | ({"X-Forwarded-For": at} if at else {})
        spawned = multiprocessing.get_context("spawn")
        self._line, other = spawned.Pipe()
        spawned.Process(target=_visit, args=(other, address, list(pages), headers, pause), daemon=True).start()
        self._line.recv()

    def begin(self) -> None:
        """From now on, until the end."""
        self._line.send(None)

    def end(self, afterwards: int = 0) -> tuple[list[float], Counter[str]]:
        """After so many pages more: each wait in milliseconds, and the answers by status, or by what went wrong instead."""
        self._line.send(afterwards)
        waits, answers = self._line.recv()
        return waits, answers


def _told(line: Any) -> bool:
    """Whether there is more to do: the end of the benchmark closes the line."""
    with suppress(EOFError):
        line.recv()
        return True
    return False


def _visit(line: Any, address: str, pages: list[str], headers: dict[str, str], pause: float) -> None:
    import httpx

    with httpx.Client(base_url=address, headers=headers, timeout=PATIENCE) as client:
        for page in pages:
            client.get(page)
        line.send("ready")
        while _told(line):
            waits, answers, left = [], Counter[str](), None
            for page in cycle(pages):
                if left is None and line.poll():
                    left = line.recv()
                if left is not None:
                    left -= 1
                    if left < 0:
                        break
                began = time.perf_counter()
                try:
                    answers[str(client.get(page).status_code)] += 1
                except httpx.HTTPError as error:
                    answers[type(error).__name__] += 1
                waits.append(1000 * (time.perf_counter() - began))
                time.sleep(pause)
            line.send((waits, answers))


def verdict(name: str, value: float, unit: str, target: float, *, at_least: bool) -> bool:
    """Prints one line, `name: value (target …, ratio …)`, and says whether the target was met."""
    ratio = value / target if at_least else target / value
    sign = "≥" if at_least else "≤"
    print(f"{name}: {value:,.4g} {unit} (target {sign} {target:,.4g}; ratio {ratio:.2f}{'' if ratio >= 1 else ', MISSED'})")
    return ratio >= 1
