"""Whatever is sent to whichever address, by whomever, the server has an answer, and it is never that something went wrong."""

from collections import Counter

import pytest

from tests.fuzz.conftest import PASSWORD, Site
from tests.fuzz.hostile import Hostile, Request, parameters, patterns
from tests.runs import new_project, new_run, queued_run, running_claim
from webapp.accounts.models import Membership, Project, Role, User
from webapp.runs import lifecycle
from webapp.runs.models import Artifact, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

MEND_EVERY = 100


def artifact(run: Run, name: str) -> str:
    return str(
        Artifact.objects.create(run=run, attempt=1, name=name, kind="other", path=f"runs/{run.pk}/{name}", bytes=5, sha256="0" * 64).pk
    )


def people_in(site: Site, project: Project) -> None:
    """One person of each role, one who is nowhere a member, an administrator, and a token of each scope."""
    User.objects.create_superuser("staff", password=PASSWORD)
    User.objects.create_user("stranger", password=PASSWORD)
    for role in Role:
        Membership.objects.create(user=User.objects.create_user(role, password=PASSWORD), project=project, role=role)
    for name in ("staff", "stranger", *Role):
        site.add(name)
    for scope in ("read", "launch", "admin"):
        site.add_token(site.people[Role.OWNER], project.slug, scope)


def known_in(project: Project) -> dict[str, list[str]]:
    """What leads somewhere: runs in several states, their artifacts, and the ids of all that the administrator's pages show."""
    runs = [queued_run(project, name="queued"), lifecycle.trash(new_run(project), "ann"), new_run(project)]
    held = running_claim(project=project)
    ids = [str(run.pk) for run in runs] + [str(held.run_id)]
    artifacts = [artifact(runs[0], name) for name in ("words.txt", "table.json", "student")]
    people = [str(pk) for pk in User.objects.values_list("pk", flat=True)]
    return {
        "run_id": ids,
        "artifact_id": artifacts,
        "slug": [project.slug, "elsewhere"],
        "method_id": ["supervised", "vanilla-kd"],
        "token_id": ["1", "2"],
        "app_label": ["accounts", "runs"],
        "id": [*people, *ids, str(project.pk)],
    }


def test_no_request_is_an_error_of_the_server(site: Site, requests: range) -> None:
    project = new_project()
    new_project("elsewhere")
    people_in(site, project)
    hostile = Hostile(known_in(project), list(site.people))
    failed: list[tuple[int, Request]] = []
    statuses: Counter[int] = Counter()

    for place, number in enumerate(requests):
        if place % MEND_EVERY == 0:
            site.mend()
        request = hostile.request(number)
        status = site.status(request)
        statuses[status] += 1
        if status >= 500:
            failed.append((status, request))

    print(f"\n{len(requests)} requests to {len(hostile.patterns)} addresses: {dict(sorted(statuses.items()))}")
    assert not failed, "\n\n".join(f"{status} for {request}" for status, request in failed[:10]) + site.program.output[-6000:]
    assert statuses[200] > 0 and site.program.is_running()


def test_the_same_number_gives_the_same_request_and_another_one_another() -> None:
    first, second = (Hostile({"id": ["1"], "run_id": ["x"]}, ["nobody", "viewer"]) for _ in range(2))

    requests = [first.request(number) for number in range(200)]

    assert requests == [second.request(number) for number in range(200)]
    assert len({str(request) for request in requests}) == 200


def test_every_address_and_every_method_gets_its_turn() -> None:
    hostile = Hostile({"id": ["1"], "run_id": ["x"]}, ["nobody"])
    requests = [hostile.request(number) for number in range(5 * len(hostile.patterns))]

    assert {request.method for request in requests} >= {"GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"}
    assert len(hostile.patterns) == len(set(patterns())) > 60


def test_parameters_are_found_in_the_source_of_pages_filters_and_bodies() -> None:
    assert {"created_after", "tensor", "username", "clone", "tail", "width", "idempotency_key", "seeds", "scope", "group"} <= set(
        parameters()
    )
