"""Whatever the schema allows and whatever it does not is answered as the schema says, of real things and of none."""

import random
from collections import Counter
from typing import Any

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from django.urls import reverse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tests.fuzz.hostile import VALUES
from tests.runs import new_project, queued_run, running_claim
from tests.webapp.conftest import token_of
from webapp.accounts.models import Membership, Project, Role, Scope, User
from webapp.runs.models import Artifact, Evaluation, LogLine, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
STREAM = "GET /runs/{run_id}/events"
"""It does not end, and answers no token; tests/webapp/runs/live asks it."""
TEXTS = [value for value in VALUES if isinstance(value, str) and value.isprintable()]


def things_in(project: Project) -> dict[str, list[str]]:
    """A run in the queue, and one with something of all that a run can leave, null wherever it may be."""
    queued = queued_run(project, name="queued")
    held = running_claim(project=project)
    one = {"run_id": held.run_id, "attempt": held.attempt}
    undefined = {"accuracy": 0.5, "auroc": None}
    Evaluation.objects.create(**one, step=1, subject="student", split="validation", metrics=undefined, tables={"bins": None})
    kept = Artifact.objects.create(**one, name="a", kind="other", path="gone", bytes=1, sha256="0" * 64, meta={"n": None})
    LogLine.objects.create(**one, level="info", text="a line")
    return {
        "slug": [project.slug],
        "run_id": [str(queued.pk), str(held.run_id)],
        "method_id": ["supervised"],
        "artifact_id": [str(kept.pk)],
        "username": ["vera", "nobody"],
        "runs": [f"{queued.pk},{held.run_id}"],
        "project": [project.slug],
        "baseline": [str(queued.pk)],
    }


# Files that a web server sends piece by piece are here asked for all at once.
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators:Warning")
def test_whatever_is_sent_is_answered_as_the_schema_says(requests: range, unthrottled: None) -> None:
    project = new_project()
    people = [User.objects.create_user(name) for name in ("olga", "vera")]
    for person, role in zip(people, (Role.OWNER, Role.VIEWER), strict=True):
        Membership.objects.create(user=person, project=project, role=role)
    headers = {"Authorization": f"Bearer {token_of(people[0], project, Scope.ADMIN)}"}
    known = things_in(project)
    api = schemathesis.openapi.from_wsgi(f"{reverse('api:schema')}?format=json", get_wsgi_application())
    asked = [found.ok() for found in api.get_all_operations()]
    operations = [operation for operation in asked if operation.label != STREAM]
    statuses: Counter[int] = Counter()

    for operation in operations:
        Run.objects.update(deleted_at=None)  # what an operation before has put into the trash
        Project.objects.update(deleted_at=None)
        allowed = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        refused = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

        @settings(
            max_examples=max(3, len(requests) // len(operations)),
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            database=None,
            derandomize=requests.start == 0,
            deadline=None,
        )
        @given(case=allowed | refused, chance=st.integers(0, 2**32))
        def send(case: Any, chance: int) -> None:
            meddle(case, random.Random(chance), known)
            statuses[case.call_and_validate(headers=headers, checks=CHECKS).status_code] += 1

        send()

    print(f"\n{statuses.total()} requests to {len(operations)} operations: {dict(sorted(statuses.items()))}")
    assert len(operations) == len(asked) - 1 > 25
    assert statuses.total() >= len(operations)


def meddle(case: Any, draw: random.Random, known: dict[str, list[str]]) -> None:
    """Mostly leads a request to what exists, and now and then puts a hostile value where the schema's own are too polite."""
    for place in (case.path_parameters, case.query):
        for name in list(place or ()):
            if name in known and draw.random() < 0.75:
                place[name] = draw.choice(known[name])
            elif draw.random() < 0.1 and place is case.query:
                place[name] = draw.choice(TEXTS)
