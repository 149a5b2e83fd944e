"""What containers are reported."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from webapp.gate.readiness import LOOKS

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
