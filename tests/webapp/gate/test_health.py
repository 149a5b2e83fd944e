"""What containers are reported."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from tests.webapp.asgi import Exchange, answer
from webapp.gate.health import Health
from webapp.gate.readiness import LOOKS

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def _no_look_before() -> Iterator[None]:
    LOOKS.forget()
    yield
    LOOKS.forget()


async def refuse(*_: Any) -> None:
    raise AssertionError("the application was asked")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_it_lives_while_it_answers_and_asks_nobody_for_that(method: str) -> None:
    asked = Exchange(path="/healthz", method=method)

    asyncio.run(asked.go_through(Health(refuse)))

    assert (asked.status, json.loads(asked.body)) == (200, {"process": "ok"})
    assert asked.headers[b"cache-control"] == b"private, no-store" and int(asked.headers[b"content-length"]) == len(asked.body)
    assert asked.is_over


def test_health_is_only_read() -> None:
    asked = Exchange(path="/healthz", method="POST")

    asyncio.run(asked.go_through(Health(refuse)))

    assert (asked.status, asked.headers[b"allow"], asked.body) == (405, b"GET, HEAD", b"")


@pytest.mark.parametrize("path", ["/", "/healthz/", "/healthz2", "/readyz"])
def test_everything_else_goes_to_the_application(path: str) -> None:
    asked = Exchange(path=path)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, scope["path"].encode())

    asyncio.run(asked.go_through(Health(application)))

    assert asked.body == path.encode()


def test_it_is_ready_when_database_and_redis_answer(client: Client) -> None:
    found = client.get("/readyz")

    assert (found.status_code, found.json()) == (200, {"database": "ok", "redis": "ok"})


def test_it_is_not_ready_without_redis_and_says_so(client: Client, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    found = client.get("/readyz")

    assert (found.status_code, found.json()) == (503, {"database": "ok", "redis": "does not answer"})
