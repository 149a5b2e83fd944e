"""A whole site for a browser: web server, worker and beat as real processes, people, and runs that were really trained."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.request import urlopen

import django
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, expect, sync_playwright

# This file is read before pytest-django is ready where only this folder's tests are asked for. Doing it twice is harmless.
django.setup()

from django.core.management import call_command  # noqa: E402

from tests import processes  # noqa: E402
from tests.processes import Program  # noqa: E402
from tests.runs import new_project  # noqa: E402
from tests.waiting import wait_for  # noqa: E402
from webapp.accounts.models import Membership, Role, User  # noqa: E402
from webapp.launching.launch import launch  # noqa: E402
from webapp.runs.models import Run  # noqa: E402

PASSWORD = "a long enough password"
DEADLINE = 20_000
"""Milliseconds. Long, because tests share two cores with the runs that they watch."""

# Without the flags a browser asks its maker's servers for many things, which fails on a closed network and fills the console.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Site:
    """Where it is, and what is there: the ids of runs that have ended, and of some of their artifacts, by name."""

    address: str
    port: int
    environment: dict[str, str]
    programs: ExitStack
    runs: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)
    web: Program | None = None

    def start_web(self) -> None:
        """Returns when it answers."""
        self.web = self.programs.enter_context(processes.web(self.environment, self.port))
        wait_for(self.answers, seconds=60, what="the web server to answer")

    def answers(self) -> bool:
        assert self.web is not None and self.web.is_running(), self.web and self.web.output
        try:
            with urlopen(f"{self.address}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.fixture(scope="package")
def site(process_environment: dict[str, str], embedded_servers: None, django_db_blocker: Any) -> Iterator[Site]:
    port = processes.free_port()
    with django_db_blocker.unblock(), ExitStack() as programs:
        project = new_project("browser")
        person = User.objects.create_user("olga", password=PASSWORD)
        Membership.objects.create(user=person, project=project, role=Role.OWNER)
        new_project("second").memberships.create(user=person, role=Role.OWNER)

        site = Site(f"http://127.0.0.1:{port}", port, process_environment, programs)
        programs.enter_context(processes.worker(process_environment))
        programs.enter_context(processes.beat(process_environment))
        site.start_web()
        quick = {"task": "digits", "device": "cpu", "budget": {"steps": 60}}
        (teacher,) = launch(
            project, person, {**quick, "method": "supervised", "student": "mlp-64-64", "name": "teacher", "tags": ["teacher"]}
        )
        ended(teacher)
        taught = launch(
            project, person, {**quick, "method": "vanilla-kd", "teachers": [f"run:{teacher.pk}"], "name": "taught", "with_baseline": True}
        )
        wild = {"optimizer": "sgd", "learning_rate": 90}
        (diverged,) = launch(
            project, person, {**quick, "method": "vanilla-kd", "teachers": [f"run:{teacher.pk}"], "name": "diverged", "settings": wild}
        )
        ended(diverged, "failed")
        # These two leave tables of their own for "A closer look": examples with pictures, a histogram, bars beside each other.
        (itself,) = launch(project, person, {**quick, "method": "ps-kd", "name": "itself", "budget": {"steps": 57}})  # whole epochs
        (standardized,) = launch(
            project, person, {**quick, "method": "logit-standardization", "teachers": [f"run:{teacher.pk}"], "name": "standardized"}
        )
        # Leaves tensors; validated once, at its end.
        brief = {"settings": {"fits": 2, "estimator": "fixed", "alpha": [0.5]}, "budget": {"steps": 19}, "cadence": {"evaluate": 1000}}
        (generations,) = launch(project, person, {**quick, **brief, "method": "teacher-guidance", "name": "generations"})
        succeeded = [teacher, *taught, itself, standardized, generations]
        for run in succeeded:
            ended(run)
        site.runs.update({run.name: str(run.pk) for run in [*succeeded, diverged]})
        wanted = {"student": taught[0], "likely_label_errors": itself, "generation-0": generations}
        site.artifacts.update({name.replace("-", "_"): str(run.artifacts.get(name=name).pk) for name, run in wanted.items()})
        yield site
    with django_db_blocker.unblock():
        call_command("flush", interactive=False, verbosity=0)


def ended(run: Run, state: str = "succeeded") -> None:
    wait_for(lambda: Run.objects.filter(pk=run.pk, state=state).exists(), seconds=60, what=f"{run.name} to be {state}")


@pytest.fixture
def db(site: Site) -> Site:
    """In place of pytest-django's: rows are committed, so that other processes see them, and no transaction is around a test. By this name
    pytest-django knows that a test needs the test database."""
    return site


@pytest.fixture(scope="package")
def browser(site: Site) -> Iterator[Browser]:
    path = os.environ.get("STILLHOUSE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert path is not None, "the browser tests need Chromium: apt-get install chromium"
    expect.set_options(timeout=DEADLINE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def session(site: Site, browser: Browser) -> Any:
    """The cookies of someone who has signed in by the page."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{site.address}/sign-in/")
    page.get_by_label("User name").fill("olga")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Projects")).to_be_visible()
    state = context.storage_state()
    context.close()
    return state


@dataclass
class Complaints:
    """What a browser complained of: console errors and warnings, exceptions, refused requests, breaches of the content policy."""

    of: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.of.append(f"exception: {error}"))
        page.on("response", self._response)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.of.append(f"{message.type}: {message.text}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.of.append(f"{response.status} {response.url}")


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(db: Site, browser: Browser, session: Any, complaints: Complaints) -> Iterator[OpenPage]:
    """Opens an address in a new window, signed in."""
    contexts: list[BrowserContext] = []

    def open_(path: str, *, width: int = 1440, theme: str = "light") -> Page:
        context = browser.new_context(
            base_url=db.address, storage_state=session, viewport={"width": width, "height": 900}, color_scheme=theme
        )
        context.set_default_timeout(DEADLINE)
        contexts.append(context)
        page = context.new_page()
        complaints.listen(page)
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()
