"""Every endpoint, tried by nobody, by a stranger, by the least role that may, and by the one below it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.urls import get_resolver
from rest_framework.test import APIClient

from tests.runs import new_run, queued_run
from tests.webapp.conftest import SPEC, RunMaker, signed_in, token_of, with_token
from webapp.accounts.models import Membership, Project, Role, Scope, User
from webapp.runs import lifecycle
from webapp.runs.models import Artifact, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


@dataclass(frozen=True)
class Endpoint:
    """A request that works for an operator: `path` with {run}, {other}, {artifact} and {token} to be filled in, and what a success answers."""

    name: str
    method: str
    path: str
    body: Mapping[str, Any] | None = None
    code: int = 200
    needs: Role = Role.VIEWER
    run: str = "queued"
    filled: Mapping[str, str] = field(default_factory=dict)


READS = [
    Endpoint("project", "get", "projects/distillery/"),
    Endpoint("runs", "get", "projects/distillery/runs/"),
    Endpoint("run", "get", "runs/{run}/"),
    Endpoint("metrics", "get", "runs/{run}/metrics/"),
    Endpoint("evaluations", "get", "runs/{run}/evaluations/"),
    Endpoint("artifacts", "get", "runs/{run}/artifacts/"),
    Endpoint("logs", "get", "runs/{run}/logs/"),
    Endpoint("attempts", "get", "runs/{run}/attempts/"),
    Endpoint("history", "get", "runs/{run}/history/"),
    Endpoint("download", "get", "artifacts/{artifact}/download/"),
    Endpoint("compare", "get", "compare/?runs={run},{other}"),
    Endpoint("compare-curves", "get", "compare/curves/?runs={run},{other}"),
    Endpoint("models", "get", "models/?project=distillery"),
    Endpoint("members", "get", "projects/distillery/members/"),
]
WRITES = [
    Endpoint("runs", "post", "projects/distillery/runs/", SPEC, code=201, needs=Role.OPERATOR),
    Endpoint("run", "patch", "runs/{run}/", {"notes": "n"}, needs=Role.OPERATOR),
    Endpoint("run", "delete", "runs/{run}/", needs=Role.OPERATOR),
    Endpoint("stop", "post", "runs/{run}/stop/", needs=Role.OPERATOR),
    Endpoint("resume", "post", "runs/{run}/resume/", needs=Role.OPERATOR, run="stopped"),
    Endpoint("retry", "post", "runs/{run}/retry/", needs=Role.OPERATOR, run="stopped"),
    Endpoint("continue", "post", "runs/{run}/continue/", {"budget": {"steps": 0}}, code=400, needs=Role.OPERATOR),
    Endpoint("clone", "post", "runs/{run}/clone/", {}, code=201, needs=Role.OPERATOR),
    Endpoint("restore", "post", "runs/{run}/restore/", needs=Role.OPERATOR, run="trashed"),
]
OWN = [
    Endpoint("me", "get", "me/"),
    Endpoint("projects", "get", "projects/"),
    Endpoint("tokens", "get", "tokens/"),
    Endpoint("token", "delete", "tokens/1/"),
    Endpoint("methods", "get", "methods/"),
    Endpoint("method", "get", "methods/supervised/"),
    Endpoint("tasks", "get", "tasks/"),
    Endpoint("member", "put", "projects/distillery/members/vera/"),  # who else may is in test_members_api.py
]
OF_OWNERS = [
    Endpoint("audit", "get", "projects/distillery/audit/", needs=Role.OWNER),
    Endpoint("audit-export", "get", "projects/distillery/audit/export/", needs=Role.OWNER),
]
OF_STAFF = [Endpoint("site-audit", "get", "audit/"), Endpoint("site-audit-export", "get", "audit/export/")]
OPEN = {"schema", "docs"}
"""What anyone may read: how the API is to be used."""

OWNERS = {"project-delete", "project-restore"}
"""For owners alone, tried by all others in tests/webapp/runs/test_projects.py."""

OF_A_PROJECT = [pytest.param(endpoint, id=f"{endpoint.method} {endpoint.name}") for endpoint in READS + WRITES]
WRITING = [pytest.param(endpoint, id=f"{endpoint.method} {endpoint.name}") for endpoint in WRITES]
ALL = [pytest.param(endpoint, id=f"{endpoint.method} {endpoint.name}") for endpoint in READS + WRITES + OWN + OF_OWNERS + OF_STAFF]


@pytest.fixture
def paths(project: Project, store: Any) -> dict[str, dict[str, str]]:
    """What the paths are filled with, by the state of the run they are about."""
    queued, other = queued_run(project), queued_run(project)
    stopped = lifecycle.request_stop(queued_run(project), "otto")
    trashed = lifecycle.trash(queued_run(project), "otto")
    (store / "report.txt").write_text("hello")
    artifact = Artifact.objects.create(run=queued, attempt=1, name="report", kind="other", path="report.txt", bytes=5, sha256="0" * 64)
    about = {"other": str(other.pk), "artifact": str(artifact.pk)}
    return {state: {"run": str(run.pk), **about} for state, run in {"queued": queued, "stopped": stopped, "trashed": trashed}.items()}


def ask(client: APIClient, endpoint: Endpoint, paths: Mapping[str, Mapping[str, str]]) -> Any:
    address = "/api/v1/" + endpoint.path.format(**paths[endpoint.run])
    return (
        getattr(client, endpoint.method)(address, endpoint.body) if endpoint.body is not None else getattr(client, endpoint.method)(address)
    )


def test_no_endpoint_is_forgotten_here() -> None:
    urls = {name for name in get_resolver("webapp.api_urls").reverse_dict if isinstance(name, str)}

    tried = {endpoint.name for endpoint in READS + WRITES + OWN + OF_OWNERS + OF_STAFF}

    assert urls - OPEN - OWNERS == tried


@pytest.mark.parametrize("endpoint", ALL)
def test_nobody_is_asked_to_sign_in(endpoint: Endpoint, paths: Any) -> None:
    answer = ask(signed_in(None), endpoint, paths)

    assert answer.status_code == 401
    assert answer.json() == {"detail": "Sign in, or send a token: Authorization: Bearer shp_…."}


@pytest.mark.parametrize("endpoint", OF_A_PROJECT)
def test_a_stranger_finds_nothing(endpoint: Endpoint, paths: Any, stranger: User) -> None:
    answer = ask(signed_in(stranger), endpoint, paths)

    assert answer.status_code == 404


@pytest.mark.parametrize("endpoint", OF_A_PROJECT)
def test_the_least_role_may(endpoint: Endpoint, paths: Any, project: Project) -> None:
    someone = User.objects.create_user("sam")
    Membership.objects.create(user=someone, project=project, role=endpoint.needs)

    answer = ask(signed_in(someone), endpoint, paths)

    assert answer.status_code == endpoint.code


@pytest.mark.parametrize("endpoint", WRITING)
def test_a_viewer_may_not_and_is_told_who_may(endpoint: Endpoint, paths: Any, viewer: User) -> None:
    before = Run.objects.count()

    answer = ask(signed_in(viewer), endpoint, paths)

    assert answer.status_code == 403
    assert answer.json() == {"detail": "This needs the role operator in Distillery; yours is viewer."}
    assert Run.objects.count() == before


@pytest.mark.parametrize("endpoint", WRITING)
def test_a_reading_token_may_not_though_its_owner_may(endpoint: Endpoint, paths: Any, owner: User, project: Project) -> None:
    answer = ask(with_token(token_of(owner, project)), endpoint, paths)

    assert answer.status_code == 403
    assert answer.json() == {"detail": "This needs a token with the scope launch; the scope of read token is read."}


@pytest.mark.parametrize("endpoint", OF_A_PROJECT)
def test_a_launching_token_may_what_an_operator_may(endpoint: Endpoint, paths: Any, operator: User, project: Project) -> None:
    answer = ask(with_token(token_of(operator, project, Scope.LAUNCH)), endpoint, paths)

    assert answer.status_code == endpoint.code


@pytest.mark.parametrize("endpoint", OF_A_PROJECT)
def test_a_token_of_another_project_finds_nothing_though_its_owner_is_a_member(
    endpoint: Endpoint, paths: Any, operator: User, elsewhere: Project
) -> None:
    Membership.objects.create(user=operator, project=elsewhere, role=Role.OWNER)

    answer = ask(with_token(token_of(operator, elsewhere, Scope.ADMIN)), endpoint, paths)

    assert answer.status_code == 404


@pytest.mark.parametrize("endpoint", OF_OWNERS, ids=lambda endpoint: endpoint.name)
def test_what_is_for_owners_needs_an_owner_and_a_token_for_everything(
    endpoint: Endpoint, paths: Any, owner: User, reviewer: User, stranger: User, project: Project
) -> None:
    by_session = [ask(signed_in(user), endpoint, paths).status_code for user in (owner, reviewer, stranger)]
    by_token = [ask(with_token(token_of(owner, project, scope)), endpoint, paths).status_code for scope in Scope]

    assert by_session == [200, 403, 404]
    assert dict(zip(Scope, by_token, strict=True)) == {Scope.READ: 403, Scope.LAUNCH: 403, Scope.ADMIN: 200}


@pytest.mark.parametrize("endpoint", OF_STAFF, ids=lambda endpoint: endpoint.name)
def test_what_is_for_administrators_needs_one_and_no_token_will_do(endpoint: Endpoint, paths: Any, owner: User, project: Project) -> None:
    before = ask(signed_in(owner), endpoint, paths).status_code
    User.objects.filter(pk=owner.pk).update(is_staff=True)

    after = [ask(client, endpoint, paths).status_code for client in (signed_in(owner), with_token(token_of(owner, project, Scope.ADMIN)))]

    assert (before, after) == (403, [200, 403])


def test_a_token_gives_its_owner_no_higher_role(viewer: User, project: Project) -> None:
    answer = with_token(token_of(viewer, project, Scope.ADMIN)).post("/api/v1/projects/distillery/runs/", SPEC)

    assert answer.status_code == 403
    assert answer.json() == {"detail": "This needs the role operator in Distillery; yours is viewer."}


def test_a_member_who_was_removed_finds_nothing_with_a_token_made_before(viewer: User, project: Project) -> None:
    client = with_token(token_of(viewer, project))
    Membership.objects.filter(user=viewer).delete()

    answer = client.get("/api/v1/projects/distillery/runs/")

    assert answer.status_code == 404


def test_a_run_id_of_another_project_is_not_found(operator: User, elsewhere: Project) -> None:
    foreign = new_run(elsewhere)

    answer = signed_in(operator).get(f"/api/v1/runs/{foreign.pk}/")

    assert answer.status_code == 404


def test_runs_of_two_projects_are_not_compared(operator: User, project: Project, elsewhere: Project) -> None:
    Membership.objects.create(user=operator, project=elsewhere, role=Role.VIEWER)
    ours, theirs = new_run(project), new_run(elsewhere)

    answer = signed_in(operator).get(f"/api/v1/compare/?runs={ours.pk},{theirs.pk}")

    assert answer.status_code == 400
    assert answer.json() == {"errors": [{"field": "runs", "message": "must be of one project."}]}


def test_a_session_needs_the_csrf_token_to_change_something(operator: User, project: Project) -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(operator)

    answer = client.post("/api/v1/projects/distillery/runs/", SPEC)

    assert answer.status_code == 403
    assert answer.json()["detail"].startswith("CSRF Failed")


def test_a_token_needs_no_csrf_token(operator: User, project: Project) -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token_of(operator, project, Scope.LAUNCH)}")

    answer = client.post("/api/v1/projects/distillery/runs/", SPEC)

    assert answer.status_code == 201


def test_the_comparison_of_a_run_in_another_project_is_not_found(
    operator: User, stranger: User, elsewhere: Project, finished_run: RunMaker
) -> None:
    ours, theirs = finished_run(), finished_run(of=elsewhere)

    answer = signed_in(operator).get(f"/api/v1/compare/?runs={ours.pk},{theirs.pk}")

    assert answer.status_code == 404
    assert answer.json() == {"detail": f"There is no run {theirs.pk}, or it is not in a project of yours."}
