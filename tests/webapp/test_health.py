"""What containers and Prometheus are reported."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from tests.runs import new_run, queued_run
from webapp.accounts.models import Project
from webapp.gate.readiness import LOOKS
from webapp.runs import lifecycle

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def _no_look_before() -> Iterator[None]:
    LOOKS.forget()
    yield
    LOOKS.forget()


def test_it_lives_while_it_answers_and_asks_no_server_for_that(client: Client, settings: Any, django_assert_num_queries: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"  # nobody listens there

    with django_assert_num_queries(0):
        answer = client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"process": "ok"})


def test_it_is_ready_when_database_and_redis_answer(client: Client) -> None:
    answer = client.get("/readyz")

    assert (answer.status_code, answer.json()) == (200, {"database": "ok", "redis": "ok"})


def test_it_is_not_ready_without_redis_and_says_so(client: Client, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    answer = client.get("/readyz")

    assert (answer.status_code, answer.json()) == (503, {"database": "ok", "redis": "does not answer"})


def test_runs_are_counted_by_state_without_the_trash(client: Client, project: Project) -> None:
    queued_run(project)
    new_run(project)
    lifecycle.trash(queued_run(project), "otto")

    text = client.get("/metrics").content.decode()

    assert 'stillhouse_runs{state="queued"} 1.0' in text
    assert 'stillhouse_runs{state="draft"} 1.0' in text
    assert 'stillhouse_runs{state="stopped"} 0.0' in text


def test_metrics_are_not_for_strangers(client: Client) -> None:
    answer = client.get("/metrics", REMOTE_ADDR="203.0.113.5")

    assert answer.status_code == 403


def test_a_stranger_behind_a_local_proxy_is_still_a_stranger(client: Client) -> None:
    answer = client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.5"})

    assert answer.status_code == 403


@pytest.mark.parametrize(("sent", "status"), [("Bearer let-me-look", 200), ("Bearer guess", 403), ("Bearer ", 403)])
def test_metrics_are_told_to_who_has_the_token(client: Client, settings: Any, sent: str, status: int) -> None:
    settings.METRICS_TOKEN = "let-me-look"

    answer = client.get("/metrics", REMOTE_ADDR="203.0.113.5", headers={"Authorization": sent})

    assert answer.status_code == status
