"""The OpenAPI schema: complete, without a warning, and true."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import reverse
from jsonschema import validate

from tests.webapp.conftest import RunMaker, signed_in
from tests.webapp.runs.live.test_news import news_since
from webapp.accounts.models import User
from webapp.legible import LINE, LINES
from webapp.runs.live.news import Mark

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

SAID = ("get", "post", "patch", "delete")


@pytest.fixture
def schema(viewer: User) -> dict[str, Any]:
    answer = signed_in(viewer).get("/api/v1/schema/", headers={"Accept": "application/vnd.oai.openapi+json"})
    found: dict[str, Any] = json.loads(answer.content)
    return found


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            if method in SAID:
                yield f"{method} {path}", operation


def test_it_is_valid_and_made_without_a_warning(tmp_path: Any) -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema.yml"))


def test_every_operation_says_what_it_does_and_how_it_fails(schema: dict[str, Any]) -> None:
    silent = [name for name, operation in operations(schema) if not operation.get("description")]
    without_failure = [name for name, operation in operations(schema) if "401" not in operation["responses"]]

    assert (silent, without_failure) == ([], [])


def test_a_launch_is_described_with_every_field_of_a_spec(schema: dict[str, Any]) -> None:
    body = schema["components"]["schemas"]["LaunchBodyRequest"]

    assert {"method", "task", "settings", "teachers", "student", "seed", "budget", "seeds", "with_baseline", "tags"} <= body[
        "properties"
    ].keys()
    assert sorted(body["required"]) == ["method", "task"]


def test_a_clones_body_is_closed_and_holds_what_a_launch_does(schema: dict[str, Any]) -> None:
    clone, launch = (schema["components"]["schemas"][name] for name in ("CloneBodyRequest", "LaunchBodyRequest"))

    assert clone["additionalProperties"] is False and not clone.get("required")
    assert clone["properties"].keys() == launch["properties"].keys()


def test_every_number_of_an_address_says_how_small_and_names_how_long(schema: dict[str, Any]) -> None:
    asked = [(name, one) for name, operation in operations(schema) for one in operation.get("parameters", [])]
    unbounded = [(name, one["name"]) for name, one in asked if one["schema"].get("type") == "integer" and "minimum" not in one["schema"]]

    texts = schema["components"]["schemas"]["LaunchBodyRequest"]["properties"]
    assert unbounded == []
    assert [(texts[name]["maxLength"], "u202a" in texts[name]["pattern"]) for name in ("name", "notes")] == [(200, True), (20_000, True)]


def test_the_stream_of_a_run_is_described_as_it_speaks(schema: dict[str, Any], running_run: RunMaker, viewer: User) -> None:
    run = running_run()
    described = schema["paths"]["/runs/{run_id}/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"]["properties"]

    messages = news_since(run.pk, Mark()).messages

    assert reverse("run-events", args=[run.pk]) == f"/runs/{run.pk}/events"
    assert {message.event for message in messages} >= {"status"}
    for message in messages:
        validate(json.loads(json.dumps(message.data)), described[message.event] | {"additionalProperties": False})


def test_the_patterns_of_texts_are_those_that_are_asked_for(schema: dict[str, Any]) -> None:
    texts = schema["components"]["schemas"]["PatchedRunChangesRequest"]["properties"]

    for text in ("plain", "a\u202eb", "a\tb", "a\nb", "\x7f", "", "é\u200d"):
        assert bool(re.search(texts["name"]["pattern"], text)) == (not LINE.search(text)), ascii(text)
        assert bool(re.search(texts["notes"]["pattern"], text)) == (not LINES.search(text)), ascii(text)


@pytest.mark.parametrize("address", ["runs/7/", "me", "nothing/at/all/"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_an_address_that_leads_nowhere_is_answered_as_json(viewer: User, method: str, address: str) -> None:
    answer = getattr(signed_in(viewer), method)(f"/api/v1/{address}")

    assert answer.status_code == 404
    assert answer.json() == {"detail": "There is no such address. All end with a slash; /api/v1/docs/ lists them."}
