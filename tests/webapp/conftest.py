"""The cast, and what they work on."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import django
import pytest

# This file is read before pytest-django is ready where only this folder's tests are asked for. Doing it twice is harmless.
django.setup()

from django.core.cache import cache  # noqa: E402
from rest_framework.test import APIClient  # noqa: E402

from engine.events import Outcome  # noqa: E402
from tests.runs import new_project, new_run  # noqa: E402
from webapp.accounts import tokens  # noqa: E402
from webapp.accounts.models import Membership, Project, Role, Scope, User  # noqa: E402
from webapp.gate import limits  # noqa: E402
from webapp.runs import lifecycle  # noqa: E402
from webapp.runs.history import headline  # noqa: E402
from webapp.runs.models import Artifact, Evaluation, Run  # noqa: E402

SPEC: dict[str, Any] = {"method": "supervised", "task": "digits", "budget": {"steps": 20}, "device": "cpu"}
"""The shortest body of a launch."""

METRICS = {"accuracy": 0.9, "nll": 0.4, "ece": 0.05, "brier": 0.2, "parameters": 1000.0}


@pytest.fixture(autouse=True)
def _limits_forget() -> Iterator[None]:
    limits.forget()
    cache.clear()  # what is written or sent once in a while
    yield
    limits.forget()
    cache.clear()


@pytest.fixture
def store(tmp_path: Path, settings: Any) -> Path:
    """An artifact store of the test's own."""
    settings.STORE = tmp_path / "store"
    settings.STORE.mkdir()
    return settings.STORE


@pytest.fixture
def project(db: None) -> Project:
    """Where owner, reviewer, operator and viewer are members."""
    return new_project("distillery")


@pytest.fixture
def elsewhere(db: None) -> Project:
    """Where only the stranger is a member."""
    return new_project("elsewhere")


def _member(name: str, project: Project, role: Role) -> User:
    user = User.objects.create_user(name)  # signs in by session or token; hashing a password for each test would take longer than the test
    Membership.objects.create(user=user, project=project, role=role)
    return user


@pytest.fixture
def owner(project: Project) -> User:
    return _member("olga", project, Role.OWNER)


@pytest.fixture
def reviewer(project: Project) -> User:
    return _member("rita", project, Role.REVIEWER)


@pytest.fixture
def operator(project: Project) -> User:
    return _member("otto", project, Role.OPERATOR)


@pytest.fixture
def viewer(project: Project) -> User:
    return _member("vera", project, Role.VIEWER)


@pytest.fixture
def stranger(elsewhere: Project) -> User:
    return _member("stan", elsewhere, Role.OWNER)


def signed_in(user: User | None) -> APIClient:
    """A client with the person's session; nobody's for None."""
    client = APIClient()
    if user is not None:
        client.force_login(user)
    return client


def with_token(text: str) -> APIClient:
    """A client that sends a token."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return client


def token_of(user: User, project: Project, scope: Scope = Scope.READ) -> str:
    """The text of a new token."""
    return tokens.make(user, project, name=f"{scope} token", scope=scope)[1]


RunMaker = Callable[..., Run]


@pytest.fixture
def finished_run(project: Project) -> RunMaker:
    """Makes runs that a worker has finished, as it would: with a final test, and a model that others may learn from."""

    def make(
        *,
        of: Project | None = None,
        name: str = "finished",
        metrics: Mapping[str, float | None] | None = None,
        tables: Mapping[str, Any] | None = None,
        teacher_metrics: Mapping[str, float | None] | None = None,
        device: str = "CPU, 1 thread",
        classes: int = 10,
        **spec: Any,
    ) -> Run:
        held = _held_run(of or project, name, device, spec)
        for subject, found in (("student", METRICS if metrics is None else metrics), ("teacher", teacher_metrics)):
            if found is not None:
                Evaluation.objects.create(
                    run_id=held.run_id,
                    attempt=held.attempt,
                    step=20,
                    subject=subject,
                    split="test",
                    final=True,
                    metrics=dict(found),
                    tables=dict(tables or {}),
                )
        headline.refresh(held.run_id)
        Artifact.objects.create(
            run_id=held.run_id,
            attempt=held.attempt,
            name="student",
            kind="model",
            path=f"{held.folder}/student",
            bytes=1,
            sha256="0" * 64,
            meta={"kind": "classifier", "architecture": "mlp-16", "classes": classes, "parameters": 1000, "input_shape": [1, 8, 8]},
        )
        lifecycle.settle(held.token, Outcome("succeeded", 20, "Finished."))
        return Run.objects.select_related("project", "method", "task").get(pk=held.run_id)

    return make


@pytest.fixture
def running_run(project: Project) -> RunMaker:
    """Makes runs that a worker holds."""

    def make(*, of: Project | None = None, name: str = "running", **spec: Any) -> Run:
        return Run.objects.get(pk=_held_run(of or project, name, "CPU, 1 thread", spec).run_id)

    return make


def _held_run(project: Project, name: str, device: str, spec: Mapping[str, Any]) -> lifecycle.ClaimedRun:
    run = lifecycle.submit(new_run(project, name=name, priority=100, **spec), who="otto")
    held = lifecycle.claim_next(worker="worker-1", kinds=("cpu",), free={"cpu": 1})
    assert held is not None and held.run_id == run.pk
    lifecycle.started(held.token, pid=4321, device=device)
    return held
