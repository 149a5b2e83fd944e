"""Request times: by view, method and class of status, whatever is asked for."""

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client
from prometheus_client import REGISTRY

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def counted(view: str, method: str, status: str) -> float:
    labels = {"view": view, "method": method, "status": status}
    return REGISTRY.get_sample_value("stillhouse_request_duration_seconds_count", labels) or 0.0


def views_counted() -> set[str]:
    return {sample.labels["view"] for family in REGISTRY.collect() for sample in family.samples if "view" in sample.labels}


def test_a_request_counts_for_its_view_and_not_for_its_address(client: Client) -> None:
    before = counted("readyz", "GET", "2xx"), counted("readyz", "POST", "4xx")

    client.get("/readyz?with=anything")
    client.post("/readyz")

    assert counted("readyz", "GET", "2xx") == before[0] + 1
    assert counted("readyz", "POST", "4xx") == before[1] + 1


def test_addresses_and_methods_that_are_made_up_are_one_each(client: Client) -> None:
    client.get("/nothing/here")
    known, before = views_counted(), counted("none", "GET", "4xx")

    for number in range(5):
        client.get(f"/nothing/{number}/")
    client.generic("BREW", "/nothing/")

    assert views_counted() == known
    assert counted("none", "GET", "4xx") == before + 5
    assert counted("none", "other", "4xx") == 1


def test_it_counts_under_the_servers_loop_too(async_client: Any) -> None:
    before = counted("readyz", "GET", "2xx")

    answer = async_to_sync(async_client.get)("/readyz")

    assert (answer.status_code, counted("readyz", "GET", "2xx")) == (200, before + 1)
