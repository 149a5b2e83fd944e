"""The OpenAPI schema: complete, without a warning, and true."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tests.runs import queued_run
from tests.webapp.conftest import signed_in, token_of
from webapp.accounts.models import Project, Scope, User

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
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


@pytest.mark.django_db(transaction=True)
def test_whatever_is_sent_is_answered_as_the_schema_says(operator: User, project: Project) -> None:
    """A few requests for each operation, with values that the schema allows and with such that it does not, of real runs and of none."""
    run = queued_run(project)
    headers = {"Authorization": f"Bearer {token_of(operator, project, Scope.ADMIN)}"}
    known = {"slug": project.slug, "run_id": str(run.pk), "method_id": "supervised"}
    api = schemathesis.openapi.from_wsgi("/api/v1/schema/?format=json", get_wsgi_application())
    tried = []

    for found in api.get_all_operations():
        operation = found.ok()
        allowed = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        refused = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

        @settings(
            max_examples=25,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            database=None,
            derandomize=True,
        )
        @given(case=allowed | refused, is_known=st.booleans())
        def send(case: Any, is_known: bool) -> None:
            if is_known:
                case.path_parameters.update({name: value for name, value in known.items() if name in case.path_parameters})
            case.call_and_validate(headers=headers, checks=CHECKS)

        send()
        tried.append(operation.label)

    assert len(tried) == len(list(operations(api.raw_schema))) > 25


@pytest.mark.parametrize("address", ["runs/7/", "me", "nothing/at/all/"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_an_address_that_leads_nowhere_is_answered_as_json(viewer: User, method: str, address: str) -> None:
    answer = getattr(signed_in(viewer), method)(f"/api/v1/{address}")

    assert answer.status_code == 404
    assert answer.json() == {"detail": "There is no such address. All end with a slash; /api/v1/docs/ lists them."}
