"""Every method as a person meets it: launched over HTTP with a token, executed by a worker, and looked at. A new method gets this as well.

One web server and one worker serve all runs, which are tiny. A method's test launches its run, after those that make the models which it begins
with, unless another method's test has made them already.
"""

import hashlib
import html
import io
import math
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import django
import httpx
import pytest
from pytest_django import DjangoDbBlocker

# Where only this file's tests are asked for, it is read before pytest-django is ready. Doing it twice is harmless.
django.setup()

from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402

from engine.evidence.tiny_runs import fewer, trainer_of  # noqa: E402
from engine.metrics.cards import HEADLINE, METRICS  # noqa: E402
from engine.spec import catalog  # noqa: E402
from engine.spec.cards import Kind, MethodCard, TaskCard  # noqa: E402
from engine.spec.run_spec import RunSpec  # noqa: E402
from tests import processes  # noqa: E402
from tests.processes import Program  # noqa: E402
from tests.runs import new_project  # noqa: E402
from tests.waiting import wait_for  # noqa: E402
from webapp.accounts import tokens  # noqa: E402
from webapp.accounts.models import Membership, Role, Scope, User  # noqa: E402
from webapp.runs.templatetags.shown import metric  # noqa: E402

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("db")]

PROJECT = "every-method"
SECONDS = 60
"""Until the runs of one launch have ended."""
PATIENCE = 30
"""Seconds for one answer: the runs have the same cores as the web server."""
ENDED = ("succeeded", "failed", "stopped")

METHODS = list(catalog.methods().values())


def kind_of(card: MethodCard) -> Kind:
    kind = catalog.tasks()[card.task].kind_of(card)
    assert kind is not None, f"{card.id} does not fit the task of its card"
    return kind


KINDS = Counter(kind_of(card) for card in METHODS)
"""How many methods make each kind of student."""


@dataclass
class Launch:
    """One launch of a tiny preset: what it says, the launches whose students it begins with, and what became of it.

    `runs` are the rows of the API, newest state; `refused` is the answer to a launch that was not taken.
    """

    card: MethodCard
    body: dict[str, Any]
    teachers: list["Launch"] = field(default_factory=list)
    student: "Launch | None" = None
    runs: list[dict[str, Any]] = field(default_factory=list)
    refused: str = ""

    @property
    def needs(self) -> list["Launch"]:
        return [*self.teachers, *([self.student] if self.student else [])]

    def has_ended(self) -> bool:
        return all(run["state"] in ENDED for run in self.runs)

    def has_succeeded(self) -> bool:
        return bool(self.runs) and all(run["state"] == "succeeded" for run in self.runs)


class Plan:
    """All launches: one of each method, and those of the models that they begin with, each made once."""

    def __init__(self) -> None:
        self.models: dict[tuple[Kind, str, str], Launch] = {}
        self.methods = {
            card.id: self._launch(card, catalog.tasks()[card.task], seeds=2 if KINDS[kind_of(card)] == 1 else 1) for card in METHODS
        }

    def _launch(self, card: MethodCard, task: TaskCard, **more: Any) -> Launch:
        tiny = card.presets["tiny"]
        common = {
            "method": card.id,
            "task": task.id,
            "task_options": fewer(task),
            "settings": dict(tiny.settings),
            "budget": dict(tiny.budget),
            "cadence": {"evaluate": 10_000},
            "device": "cpu",
            "threads": 1,
        }
        launch = Launch(card, common | more)
        if card.teachers is not None and card.teachers.trained_weights:
            launch.teachers = [self._model(card.teachers.kinds, task, "teacher")] * card.teachers.at_least
        if card.student.trained_weights:
            launch.student = self._model(card.student.kinds, task, "student")
        return launch

    def _model(self, kinds: tuple[Kind, ...], task: TaskCard, role: str) -> Launch:
        """The launch that trains a model of the first fitting kind; a teacher in the architecture of the task's own."""
        kind = next(kind for kind in task.kinds if kind in kinds)
        if (kind, task.id, role) not in self.models:
            card = trainer_of(kind, task)
            own = role == "teacher" and card.id == task.teacher_method
            made = self._launch(card, task, name=f"{role} for {task.id}", student=task.teacher if own else None, priority=1)
            self.models[kind, task.id, role] = made
        return self.models[kind, task.id, role]


@dataclass
class Site:
    """Where everything runs. `api` sends a token, `browser` a person's session."""

    api: httpx.Client
    browser: httpx.Client
    worker: Program
    plan: Plan

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.api.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def rows(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        """All rows of a list of the API."""
        found = self.get(path, **parameters)
        assert found["next"] is None, f"{path} has more than a page"
        rows: list[dict[str, Any]] = found["results"]
        return rows

    def page(self, path: str) -> str:
        """A page's text, as a person reads it."""
        answer = self.browser.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:500]}"
        return html.unescape(answer.text)

    def runs_of(self, card: MethodCard) -> list[dict[str, Any]]:
        """The method's runs, all of which have succeeded: made now, unless they were made before."""
        launch = self.plan.methods[card.id]
        self._carry_out(launch)
        return [self.get(f"runs/{run['id']}/") for run in launch.runs]

    def _carry_out(self, launch: Launch) -> None:
        """Returns when the launch's runs have succeeded. What was tried before, and did not, is not tried again."""
        for need in launch.needs:
            self._carry_out(need)
        if not (launch.runs or launch.refused):
            self._post(launch)
            try:
                wait_for(lambda: self._look_after(launch), seconds=SECONDS, every=0.2, what="its end")
            except AssertionError as late:
                raise AssertionError(f"{late}\n{self._story_of(launch)}") from None
        assert launch.has_succeeded(), self._story_of(launch)

    def _post(self, launch: Launch) -> None:
        models = {"teachers": [f"run:{teacher.runs[0]['id']}" for teacher in launch.teachers]}
        if launch.student is not None:
            models["student"] = f"run:{launch.student.runs[0]['id']}"
        answer = self.api.post(f"/api/v1/projects/{PROJECT}/runs/", json=launch.body | models)
        if answer.status_code == 201:
            launch.runs = answer.json()["runs"]
        else:
            launch.refused = f"{answer.status_code} {answer.text[:1000]}"

    def _look_after(self, launch: Launch) -> bool:
        """Whether the launch's runs have ended."""
        launch.runs = [self.get(f"runs/{run['id']}/") for run in launch.runs]
        return launch.has_ended()

    def _story_of(self, launch: Launch) -> str:
        """What became of a launch, for whoever has to mend it."""
        what = f"{launch.card.id} on {launch.body['task']}"
        if launch.refused:
            return f"{what} was refused: {launch.refused}"
        parts = []
        for run in launch.runs:
            lines = self.get(f"runs/{run['id']}/logs/", tail="true", limit=30)["results"]
            log = "\n".join(line["text"] for line in lines) or "(no log)"
            parts.append(
                f"{what} is {run['state']} in phase {run['phase']!r}, step {run['step']} of {run['total_steps']}: {run['reason']}\n{log}"
            )
        return "\n".join([*parts, "The worker's last lines:", *self.worker.output.splitlines()[-10:]])


@pytest.fixture(scope="module")
def site(process_environment: dict[str, str], embedded_servers: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Site]:
    """A web server, a worker, and a person with a token. Nothing here is rolled back: other processes read it. It is emptied afterwards."""
    port = processes.free_port()
    address = f"http://127.0.0.1:{port}"
    with ExitStack() as open_until_the_end:
        worker = open_until_the_end.enter_context(processes.worker(process_environment, slots=2))
        web = open_until_the_end.enter_context(processes.web(process_environment, port))
        with django_db_blocker.unblock():
            project, person, visitor = new_project(PROJECT), User.objects.create_user("otto"), Client()
            Membership.objects.create(user=person, project=project, role=Role.OWNER)  # who may put a teacher before all that waits
            _, token = tokens.make(person, project, name="every method", scope=Scope.ADMIN)
            visitor.force_login(person)
            cookies = {settings.SESSION_COOKIE_NAME: visitor.cookies[settings.SESSION_COOKIE_NAME].value}
        api = httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE)
        browser = httpx.Client(base_url=address, cookies=cookies, timeout=PATIENCE)
        site = Site(open_until_the_end.enter_context(api), open_until_the_end.enter_context(browser), worker, Plan())
        wait_for(lambda: answers(site, web), seconds=90, what="the web server to answer")
        yield site
    with django_db_blocker.unblock():
        call_command("flush", interactive=False, verbosity=0)


@pytest.fixture
def db(site: Site) -> Site:
    """In place of pytest-django's: rows are committed, and no transaction is around a test. By this name pytest-django knows that the test
    database is needed."""
    return site


def answers(site: Site, web: Program) -> bool:
    assert web.is_running(), web.output
    try:
        return site.browser.get("/healthz").is_success
    except httpx.TransportError:
        return False


def headline_of(card: MethodCard) -> tuple[str, ...]:
    """The numbers that the method's student must be judged by. A kind that is not the task's usual one has those of its kind that the task measures."""
    task, kind = catalog.tasks()[card.task], kind_of(card)
    return task.headline if kind == task.kind else HEADLINE[kind]


def judged(site: Site, run: dict[str, Any]) -> dict[str, float | None]:
    """The student's numbers on the test split, which is read once."""
    (final,) = site.rows(f"runs/{run['id']}/evaluations/", subject="student", split="test")
    assert final["final"] is True
    metrics: dict[str, float | None] = final["metrics"]
    return metrics


@pytest.mark.parametrize("card", METHODS, ids=lambda card: card.id)
def test_a_launched_run_succeeds_and_all_that_it_says_and_leaves_can_be_read(site: Site, card: MethodCard) -> None:
    runs = site.runs_of(card)

    for run in runs:
        found = judged(site, run)
        it_succeeded_at_the_first_attempt_with_all_its_steps(site, run)
        its_spec_is_complete_and_can_be_launched_again(card, run)
        its_headline_is_there_and_finite(card, run, found)
        its_curves_have_points(site, run)
        what_it_leaves_can_be_fetched_whole(site, run)
        its_page_shows_its_headline(site, card, run, found)


def it_succeeded_at_the_first_attempt_with_all_its_steps(site: Site, run: dict[str, Any]) -> None:
    assert (run["state"], run["attempt"]) == ("succeeded", 1)
    assert run["step"] == run["total_steps"] > 0
    assert [one["exit"] for one in site.rows(f"runs/{run['id']}/attempts/")] == ["succeeded"]


def its_spec_is_complete_and_can_be_launched_again(card: MethodCard, run: dict[str, Any]) -> None:
    spec = RunSpec.parse(run["spec"])

    assert spec.model_dump(mode="json") == run["spec"]
    assert (spec.method, spec.task, spec.seed) == (card.id, card.task, run["seed"])
    assert {name: spec.settings[name] for name in card.presets["tiny"].settings} == dict(card.presets["tiny"].settings)


def its_headline_is_there_and_finite(card: MethodCard, run: dict[str, Any], found: dict[str, float | None]) -> None:
    reported = [name for name in headline_of(card) if name in found]

    assert reported, f"none of {headline_of(card)} among {sorted(found)}"
    assert kind_of(card) != catalog.tasks()[card.task].kind or reported[0] == headline_of(card)[0]
    for name in reported:
        value = found[name]
        assert value is not None and math.isfinite(value), f"{name} is {value}"
        assert run["metrics"][name] == value


def its_curves_have_points(site: Site, run: dict[str, Any]) -> None:
    series = site.get(f"runs/{run['id']}/metrics/")["series"]

    trained = {name: curve for name, curve in series.items() if not name.startswith(("validation/", "diagnostics/"))}
    assert any(len(curve["steps"]) > 1 for curve in trained.values()), sorted(series)
    for name, curve in series.items():
        assert curve["steps"] == sorted(set(curve["steps"])), name
        assert len(curve["values"]) == len(curve["steps"]) > 0, name
        assert 1 <= curve["steps"][0] <= curve["steps"][-1] <= run["total_steps"], name


def what_it_leaves_can_be_fetched_whole(site: Site, run: dict[str, Any]) -> None:
    artifacts = site.rows(f"runs/{run['id']}/artifacts/")

    assert [one["kind"] for one in artifacts if one["name"] == "student"] == ["model"]
    for one in artifacts:
        answer = site.api.get(f"/api/v1/artifacts/{one['id']}/download/")
        assert answer.status_code == 200, one["name"]
        content = answer.content if one["kind"] != "model" else weights_in(answer.content)
        assert (len(content), hashlib.sha256(content).hexdigest()) == (one["bytes"], one["sha256"]), one["name"]


def weights_in(archive: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        assert "student/model.json" in files.namelist()
        return files.read("student/model.safetensors")


def its_page_shows_its_headline(site: Site, card: MethodCard, run: dict[str, Any], found: dict[str, float | None]) -> None:
    page = site.page(f"/runs/{run['id']}/")

    assert run["name"] in page
    assert card.title in page
    for name in headline_of(card):
        if name in found:
            assert METRICS[name].title in page, name
            assert metric(found[name], name) in page, name


@pytest.mark.parametrize("kind", KINDS)
def test_runs_of_one_kind_are_compared(site: Site, kind: Kind) -> None:
    runs = [run for card in METHODS if kind_of(card) == kind for run in site.runs_of(card)]
    ids = ",".join(run["id"] for run in runs[:20])

    page = site.page(f"/p/{PROJECT}/compare/?runs={ids}&grouped=0")
    panels = site.browser.get(f"/p/{PROJECT}/compare/curves/", params={"runs": ids, "grouped": "0"})

    assert len(runs) >= 2
    for run in runs[:20]:
        assert f"/runs/{run['id']}/" in page
        reported = [name for name in HEADLINE[kind] if run["metrics"].get(name) is not None]
        for name in reported:
            assert METRICS[name].title in page, name
            assert metric(run["metrics"][name], name) in page, name
    assert panels.status_code == 200
    assert panels.json()["panels"]
