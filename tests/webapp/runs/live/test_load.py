"""What many open pages and many requests cost, and what happens beyond what there is room for."""

import os
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from django.conf import settings
from django.db import connection, transaction
from django.urls import reverse

from tests.waiting import wait_for
from tests.webapp.batches import write_points
from tests.webapp.conftest import RunMaker
from tests.webapp.runs.live.conftest import OpenPage, Web
from webapp.accounts.models import User
from webapp.runs.models import Artifact, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

OPEN = 60
WAITING = "Too many requests are waiting for an answer; ask again in a few seconds."
AWAY = "The database does not answer at the moment; ask again in a few seconds."


def events_of(run: Run) -> str:
    return reverse("run-events", args=[run.pk])


def open_or_refused(web: Web, browser: httpx.Client, path: str) -> OpenPage | httpx.Response:
    page = web.open(browser, path)
    if page.answer.status_code == 200:
        return page
    page.wait_for_its_end()
    return page.answer


def test_connections_and_threads_do_not_grow_with_open_pages_and_each_page_hears(running_run: RunMaker, viewer: User, web: Web) -> None:
    run = running_run()
    browser = web.browser(viewer)
    with ThreadPoolExecutor(8) as hands:
        pages = list(hands.map(lambda _: web.open(browser, events_of(run)), range(OPEN)))
    for page in pages:
        page.wait_for("status")

    write_points(run, (1, 3.0))
    told = [page.wait_for("points")[0]["series"] for page in pages]

    assert told == [{"loss": [[1], [3.0]]}] * OPEN
    assert web.connections() <= settings.REQUESTS_AT_ONCE + settings.LIVE_CONNECTIONS < OPEN
    wait_for(lambda: web.threads() < OPEN, what="the requests' threads to end")
    assert browser.get(reverse("run-detail", args=[run.pk])).status_code == 200


def test_a_person_and_a_server_have_so_many_pages_open_and_a_closed_one_makes_room(
    running_run: RunMaker, viewer: User, operator: User, small_web: Web
) -> None:
    run = running_run()
    mine, others = small_web.browser(viewer), small_web.browser(operator)
    opened = [small_web.open(mine, events_of(run)) for _ in range(3)]
    fourth = open_or_refused(small_web, mine, events_of(run))
    small_web.open(others, events_of(run))
    fifth = open_or_refused(small_web, others, events_of(run))

    opened[0].close()
    wait_for(lambda: isinstance(open_or_refused(small_web, others, events_of(run)), OpenPage), what="room for another page")

    assert isinstance(fourth, httpx.Response) and isinstance(fifth, httpx.Response)
    assert [(answer.status_code, answer.headers["Retry-After"]) for answer in (fourth, fifth)] == [(429, "30"), (503, "30")]


def test_a_page_beyond_the_bound_is_refused_with_a_sentence(running_run: RunMaker, viewer: User, small_web: Web) -> None:
    browser, address = small_web.browser(viewer), events_of(running_run())
    for _ in range(3):  # the server may not have seen yet that pages of an earlier test are closed
        wait_for(lambda: small_web.open(browser, address).answer.status_code == 200, every=0.2, what="room for a page")

    answer = browser.get(address)

    assert answer.text == "You have 3 live pages open, the most that one person may have; close some of them."


def test_requests_beyond_the_bound_are_told_so_and_the_site_recovers(viewer: User, small_web: Web) -> None:
    browser, page = small_web.browser(viewer), reverse("runs", args=["distillery"])
    with ThreadPoolExecutor(20) as hands, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE accounts_project IN ACCESS EXCLUSIVE MODE")
        asked = [hands.submit(browser.get, page) for _ in range(12)]
        asked += [hands.submit(browser.get, "/api/v1/projects/") for _ in range(6)]
        wait_for(lambda: sum(one.done() for one in asked) >= 13, what="requests to be refused")
        connections = small_web.connections()
        cursor.connection.rollback()  # unlocks, while the requests still wait
        answers = [one.result() for one in asked]

    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) == 13 and {answer.status_code for answer in answers} == {200, 503}
    assert {answer.headers["Retry-After"] for answer in refused} == {"5"} and all(WAITING in answer.text for answer in refused)
    assert connections <= 2 + settings.LIVE_CONNECTIONS
    assert browser.get(page).status_code == 200


def test_a_database_that_is_away_is_told_with_a_sentence(viewer: User, process_environment: dict[str, str]) -> None:
    nowhere = process_environment | {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}  # nobody listens there
    with Web(nowhere, "without-database") as web:
        browser = web.browser(viewer)

        page, api = browser.get(reverse("home")), browser.get("/api/v1/projects/")

    assert (page.status_code, page.headers["Retry-After"], AWAY in page.text) == (503, "5", True)
    assert (api.status_code, api.headers["Retry-After"], api.json()) == (503, "5", {"detail": AWAY})


@pytest.fixture
def slow_readers() -> Iterator[list[socket.socket]]:
    sockets: list[socket.socket] = []
    yield sockets
    for one in sockets:
        one.close()


def test_who_reads_slowly_keeps_nobody_else_waiting(
    finished_run: RunMaker, viewer: User, small_web: Web, slow_readers: list[socket.socket]
) -> None:
    artifact = large_artifact(finished_run())
    browser = small_web.browser(viewer)
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    asked = f"GET /api/v1/artifacts/{artifact.pk}/download/ HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n\r\n".encode()

    for _ in range(2 + settings.LIVE_CONNECTIONS + 2):
        reader = socket.create_connection(("127.0.0.1", int(small_web.address.rsplit(":", 1)[1])))
        slow_readers.append(reader)
        reader.sendall(asked)
        assert reader.recv(12) == b"HTTP/1.1 200"  # and no more

    assert browser.get(reverse("runs", args=["distillery"])).status_code == 200


def large_artifact(run: Run) -> Artifact:
    """A file in the store of the session, larger than what sockets hold."""
    artifact = run.artifacts.get()
    path = Path(settings.STORE) / artifact.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        os.truncate(file.fileno(), 64 * 1024 * 1024)
    Artifact.objects.filter(pk=artifact.pk).update(bytes=64 * 1024 * 1024)
    return artifact


def test_a_result_that_was_asked_for_and_left_does_not_keep_its_turn(viewer: User, small_web: Web) -> None:
    browser, page = small_web.browser(viewer), reverse("runs", args=["distillery"])
    impatient: list[Future[httpx.Response]] = []
    with ThreadPoolExecutor(5) as hands, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE accounts_project IN ACCESS EXCLUSIVE MODE")
        impatient = [hands.submit(browser.get, page, timeout=1) for _ in range(5)]
        errors = [one.exception() for one in impatient]
        cursor.connection.rollback()

    assert all(isinstance(error, httpx.ReadTimeout) for error in errors)
    wait_for(lambda: browser.get(page).status_code == 200, every=0.2, what="the server to see that they have gone")
