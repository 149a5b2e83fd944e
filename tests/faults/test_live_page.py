"""A live page whose Redis dies and comes back."""

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from django.conf import settings
from django.test import Client
from django.urls import reverse

from tests import processes
from tests.faults.conftest import Start
from tests.processes import Program
from tests.runs import history_of, new_project, queued_run
from tests.waiting import wait_for
from webapp import servers
from webapp.accounts.models import Membership, Role, User
from webapp.runs.models import Evaluation, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

AWAY, BACK, HEARING, STEPS, SECONDS = 1_000, 5_000, 17_000, 20_000, 400
"""Steps of the run, and the longest that it may take. Without Redis a page looks each second whether it is back: from BACK to HEARING the run must
take several seconds on a fast machine too."""
SPEC = {"budget": {"steps": STEPS}, "cadence": {"log": 50, "evaluate": 1_000, "checkpoint": STEPS}, "threads": 1}
LOGGED = [1, *range(50, STEPS + 1, 50)]


class OwnRedis:
    """A Redis that nobody else uses. It can be killed, and started again at the same address."""

    def start(self) -> None:
        servers.ensure()

    def kill(self) -> None:
        os.kill(self._pid(), signal.SIGKILL)
        wait_for(lambda: not self._pid(), what="Redis to die")

    def listeners(self) -> int:
        """How many processes subscribe to the news of runs."""
        with redis.Redis.from_url(self.url) as client:
            return int(client.pubsub_numpat())

    @property
    def url(self) -> str:
        return servers.addresses().redis_url

    def _pid(self) -> int:
        _, server = servers.status()
        return server.pid or 0


@pytest.fixture
def own_redis(process_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnRedis]:
    """In a home of its own; the database is the session's."""
    monkeypatch.setenv("DATABASE_URL", process_environment["DATABASE_URL"])
    monkeypatch.delenv("REDIS_URL", raising=False)
    with tempfile.TemporaryDirectory(prefix="stillhouse-test-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        monkeypatch.setenv("STILLHOUSE_HOME", folder)
        servers.ensure()
        yield OwnRedis()
        servers.stop()


@pytest.fixture
def environment(process_environment: dict[str, str], own_redis: OwnRedis) -> dict[str, str]:
    return process_environment | {"REDIS_URL": own_redis.url}


def events_of(answer: httpx.Response) -> Iterator[tuple[str, Any]]:
    """(event, data) of each server-sent event. A stream says something at least every fifteen seconds."""
    event, deadline = "", time.monotonic() + SECONDS
    for line in answer.iter_lines():
        assert time.monotonic() < deadline, f"the stream did not end within {SECONDS} s; its last event was {event!r}"
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            yield event, json.loads(value)


def test_an_open_page_misses_nothing_when_redis_dies_and_comes_back(
    own_redis: OwnRedis, environment: dict[str, str], start: Start, start_worker: Callable[..., Program], start_beat: Callable[[], Program]
) -> None:
    port = processes.free_port()
    web = start(processes.web(environment, port))
    start_worker(1)
    start_beat()
    project, person, visitor = new_project(), User.objects.create_user("vera"), Client()
    Membership.objects.create(user=person, project=project, role=Role.VIEWER)
    visitor.force_login(person)
    cookies = {settings.SESSION_COOKIE_NAME: visitor.cookies[settings.SESSION_COOKIE_NAME].value}
    run = queued_run(project, **SPEC)
    steps: list[int] = []
    reported: list[int] = []
    heard: list[str] = []

    listeners: list[int] = []
    # What happens once the page has been sent so many steps. Between the first two, the run trains and nobody can ring.
    turns = [(AWAY, own_redis.kill), (BACK, own_redis.start), (HEARING, lambda: listeners.append(own_redis.listeners()))]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", cookies=cookies, timeout=20) as browser:
        wait_for(lambda: web.is_running() and answers(browser), seconds=60, what="the web server to answer")
        with browser.stream("GET", reverse("run-events", args=[run.pk])) as answer:
            for event, data in events_of(answer):
                heard.append(event)
                if event == "points":
                    steps += data["series"].get("loss", [[]])[0]
                    assert data["cut_after"] is None
                if event == "evaluation":
                    reported += [one["id"] for one in data["evaluations"]]
                if turns and steps and steps[-1] >= turns[0][0]:
                    turns.pop(0)[1]()

    run.refresh_from_db()
    assert (run.state, run.attempt) == (State.SUCCEEDED, 1)
    assert steps == LOGGED == history_of(run.pk)["loss"][0]
    assert reported == list(Evaluation.objects.filter(run=run).order_by("id").values_list("id", flat=True))
    assert heard[-1] == "end"
    assert listeners == [1]


def answers(browser: httpx.Client) -> bool:
    try:
        return browser.get("/healthz").is_success
    except httpx.TransportError:
        return False
