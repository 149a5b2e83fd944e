"""Ready or not: both servers answer, and the database is of this version."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from tests.versions import NEWER, heal, newer_database, older_database
from tests.waiting import wait_for
from tests.webapp.conftest import SPEC, signed_in
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import User
from webapp.gate.readiness import LOOKS, Looks, known_migrations, misfit, wrong_version
from webapp.runs.models import Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def _no_look_before() -> Iterator[None]:
    LOOKS.forget()
    yield
    LOOKS.forget()


@pytest.fixture
def newer(django_db_setup: None) -> Iterator[None]:
    with newer_database():
        yield


def known(*names: str, replaced: dict[str, set[str]] | None = None) -> dict[Any, Any]:
    return {("runs", name): frozenset(("runs", each) for each in (replaced or {}).get(name, ())) for name in names}


@pytest.mark.parametrize(
    ("applied", "code", "sentence"),
    [
        ({"0001"}, known("0001"), ""),
        ({"0001", "0002"}, known("0001"), "The database is from a newer Stillhouse: it has runs.0002; update the code."),
        ({"0001", "0002", "0003"}, known("0001"), "The database is from a newer Stillhouse: it has runs.0002 and 1 more; update the code."),
        ({"0001"}, known("0001", "0002"), "The database is from an older Stillhouse: it lacks runs.0002; run manage.py migrate."),
        (set(), known("0001", "0002"), "The database has no tables yet; run manage.py migrate."),
        # A branch of the code that never met this database: migrating would not help, so the code is what has to change.
        ({"0001", "0002x"}, known("0001", "0002"), "The database is from a newer Stillhouse: it has runs.0002x; update the code."),
        ({"0001", "0002"}, known("0001s", replaced={"0001s": {"0001", "0002"}}), ""),
        ({"0001s"}, known("0001s", replaced={"0001s": {"0001", "0002"}}), ""),
        (
            {"0001"},
            known("0001s", replaced={"0001s": {"0001", "0002"}}),
            "The database is from an older Stillhouse: it lacks runs.0001s; run manage.py migrate.",
        ),
    ],
)
def test_a_database_fits_neither_older_nor_newer(applied: set[str], code: dict[Any, Any], sentence: str) -> None:
    assert misfit(applied={("runs", name) for name in applied}, known=code) == sentence


def test_an_app_that_the_code_lacks_is_newer_too() -> None:
    assert misfit(applied={("runs", "0001"), ("moons", "0001")}, known=known("0001")) == (
        "The database is from a newer Stillhouse: it has moons.0001; update the code."
    )


def test_every_migration_of_the_code_is_known() -> None:
    found = known_migrations()

    assert {("runs", "0001_initial"), ("accounts", "0001_initial"), ("auth", "0001_initial"), ("axes", "0001_initial")} <= found.keys()


def test_a_newer_database_is_not_ready_and_says_what_to_do(client: Client, newer: None) -> None:
    answer = client.get("/readyz")

    assert (answer.status_code, answer.json()) == (503, {"database": NEWER, "redis": "ok"})


def test_an_older_database_is_not_ready_and_says_what_to_do(client: Client) -> None:
    with older_database() as missing:
        answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["database"] == f"The database is from an older Stillhouse: it lacks runs.{missing}; run manage.py migrate."


def test_every_page_and_endpoint_says_so_and_nothing_is_launched(operator: User, newer: None) -> None:
    launched = signed_in(operator).post("/api/v1/projects/distillery/runs/", SPEC)
    page = as_(operator).get("/p/distillery/")

    assert (launched.status_code, launched.json()) == (503, {"detail": NEWER})
    assert page.status_code == 503 and NEWER in text_of(page)
    assert launched["Retry-After"] == page["Retry-After"] == "10"
    assert launched["Cache-Control"] == page["Cache-Control"] == "private, no-store"
    assert not Run.objects.exists()


def test_a_database_that_was_mended_is_found_so_without_a_start(newer: None) -> None:
    before = wrong_version()

    heal()

    wait_for(lambda: wrong_version() == "", what="the next look")
    assert before == NEWER


def test_a_hundred_who_ask_at_once_cost_one_look() -> None:
    found: list[Any] = []
    barrier = threading.Barrier(100)

    def ask() -> None:
        barrier.wait()
        found.append(LOOKS.newest(at_most=60))

    threads = [threading.Thread(target=ask) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 100 and len({id(one) for one in found}) == 1  # the same object: made by one look
    assert found[0].is_ready


def test_while_a_look_does_not_end_it_is_not_ready_and_the_version_is_the_last_that_was_found(newer: None) -> None:
    looks = Looks()
    found = looks.newest()
    assert looks._last is not None

    with looks._lock:  # somebody looks
        looks._last = (looks._last[0] - 3, found)
        soon = looks.newest()
        looks._last = (looks._last[0] - 60, found)
        later = looks.newest()

    assert soon is found
    assert (later.database, later.is_ready, later.wrong_version) == ("the last look at it has not ended", False, NEWER)


def test_the_sentence_is_logged_once_not_with_every_look(newer: None, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        LOOKS.newest(at_most=-1)  # always looks

    assert [record.getMessage() for record in caplog.records if "newer Stillhouse" in record.getMessage()] == [NEWER]


def test_while_the_database_is_away_that_is_all_that_is_said(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
    monkeypatch.setitem(connection.settings_dict, "PORT", "1")  # nobody listens there

    answer, sentence = client.get("/readyz"), wrong_version()

    assert (answer.status_code, answer.json()) == (503, {"database": "does not answer", "redis": "ok"})
    assert sentence == ""
