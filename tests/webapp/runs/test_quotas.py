"""How much a project and a person may have at a time."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from tests.runs import claim, new_project, queued_run
from webapp.accounts.models import Project, User
from webapp.runs import quotas
from webapp.runs.models import Artifact, Quota, Run, State
from webapp.runs.quotas import Allowance, Usage

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


@pytest.fixture
def project() -> Project:
    return new_project()


@pytest.fixture
def person() -> User:
    return User.objects.create_user("vera")


@pytest.fixture(autouse=True)
def _no_limits_of_the_operator(settings: Any) -> None:
    settings.PROJECT_QUOTA, settings.PERSON_QUOTA, settings.RUN_SECONDS = {}, {}, 0


def sentences(project: Project, person: User, *, runs: int = 1, steps: int = 100, seconds: int | None = None) -> list[tuple[str, str]]:
    return [(one.field, one.message) for one in quotas.problems(project, person, runs=runs, steps=steps, seconds=seconds)]


def stored(run: Run, size: int) -> None:
    Artifact.objects.create(run=run, attempt=1, name=str(uuid.uuid4()), kind="model", path="x", bytes=size, sha256="0" * 64)


def test_without_limits_everything_is_allowed(project: Project, person: User) -> None:
    assert sentences(project, person, runs=10**6, steps=10**12, seconds=10**9) == []


def test_a_rows_limit_goes_before_the_operators_and_an_empty_field_leaves_it_to_them(project: Project, settings: Any) -> None:
    settings.PROJECT_QUOTA = {"queued_runs": 5, "steps": 700}
    Quota.objects.create(project=project, steps=900)

    allowed = quotas.allowance_of(project)

    assert allowed == Allowance(queued_runs=5, steps=900)


def test_projects_and_people_have_limits_of_their_own(project: Project, person: User, settings: Any) -> None:
    settings.PERSON_QUOTA = {"queued_runs": 3}
    Quota.objects.create(person=User.objects.create_user("other"), steps=1)

    assert (quotas.allowance_of(person), quotas.allowance_of(project)) == (Allowance(queued_runs=3), Allowance())


def test_runs_that_would_pass_the_limit_of_waiting_ones_are_refused_with_the_numbers(project: Project, person: User) -> None:
    Quota.objects.create(project=project, queued_runs=3)
    queued_run(project)

    assert sentences(project, person, runs=2) == []
    assert sentences(project, person, runs=3) == [
        ("", "The project Distillery has 1 of 3 runs waiting, so 3 more can't be queued; wait, or stop some.")
    ]


def test_a_persons_waiting_runs_count_in_all_projects(project: Project, person: User) -> None:
    Quota.objects.create(person=person, queued_runs=2)
    for where in (project, new_project("elsewhere")):
        queued_run(where)
    Run.objects.update(created_by=person)

    assert sentences(project, person) == [("", "You have 2 of 2 runs waiting, so 1 more can't be queued; wait, or stop some.")]


def test_a_run_that_is_too_long_is_refused_beside_its_budget(project: Project, person: User) -> None:
    Quota.objects.create(project=project, steps=1000)

    assert sentences(project, person, steps=1000) == []
    assert sentences(project, person, steps=1001) == [
        ("budget", "comes to 1,001 steps; the project Distillery has at most 1,000 for a run.")
    ]


def test_a_time_limit_beyond_the_longest_is_refused_beside_its_field(project: Project, person: User) -> None:
    Quota.objects.create(person=person, seconds=60)

    assert sentences(project, person, seconds=60) == []
    assert sentences(project, person, seconds=61) == [("seconds_limit", "must be at most 60, the longest that you have for a run; got 61.")]


def test_a_full_store_refuses_new_runs_and_the_trash_counts(project: Project, person: User) -> None:
    Quota.objects.create(project=project, store_bytes=1000)
    run = queued_run(project)
    stored(run, 600)
    assert sentences(project, person) == []

    stored(run, 400)
    Run.objects.filter(pk=run.pk).update(deleted_at=Now())

    assert sentences(project, person) == [
        (
            "",
            "The project Distillery has 1,000 bytes of files of runs, of 1,000 at most; delete runs for good, or ask an administrator for more.",
        )
    ]


def test_all_that_is_wrong_is_said_at_once(project: Project, person: User) -> None:
    Quota.objects.create(project=project, queued_runs=0, steps=1, seconds=1, store_bytes=0)
    Quota.objects.create(person=person, queued_runs=0)

    found = [field for field, _ in sentences(project, person, steps=2, seconds=2)]

    assert found == ["budget", "seconds_limit", "", "", ""]


@pytest.mark.parametrize(
    ("operators", "projects", "persons", "asked", "expected"),
    [(0, None, None, None, None), (70, None, None, None, 70), (70, 50, None, None, 50), (70, 50, 30, None, 30), (70, None, None, 90, 90)],
)
def test_a_run_without_a_time_limit_gets_the_shortest_that_is_set(
    operators: int,
    projects: int | None,
    persons: int | None,
    asked: int | None,
    expected: int | None,
    project: Project,
    person: User,
    settings: Any,
) -> None:
    settings.RUN_SECONDS = operators
    Quota.objects.create(project=project, seconds=projects)
    Quota.objects.create(person=person, seconds=persons)

    assert quotas.seconds_limit(project, person, asked) == expected


def test_usage_counts_what_waits_what_runs_and_what_is_stored(project: Project) -> None:
    for _ in range(3):
        queued_run(project)
    assert claim()
    trashed = queued_run(project)
    Run.objects.filter(pk=trashed.pk).update(deleted_at=Now(), checkpoint_bytes=500)
    stored(trashed, 7)

    assert quotas.usage_of(project) == Usage(queued_runs=2, running_runs=1, store_bytes=507)


@pytest.mark.parametrize("given", ["neither", "both"])
def test_limits_are_of_a_project_or_of_a_person(given: str, project: Project, person: User) -> None:
    whose = {} if given == "neither" else {"project": project, "person": person}

    with pytest.raises(IntegrityError, match="quota_of_a_project_or_a_person"):
        Quota.objects.create(**whose)


def test_looking_for_who_is_full_asks_the_same_however_many_there_are(
    django_assert_num_queries: Callable[..., CaptureQueriesContext],
) -> None:
    for index in range(5):
        project = new_project(f"project-{index}")
        Quota.objects.create(project=project, running_runs=1)
        queued_run(project)
        claim()

    with django_assert_num_queries(2):
        full = quotas.used_up()

    assert Run.objects.filter(full.runs()).count() == 5


def test_without_a_limit_on_running_runs_nobody_counts_them(django_assert_num_queries: Callable[..., CaptureQueriesContext]) -> None:
    Quota.objects.create(project=queued_run().project, queued_runs=1)

    with django_assert_num_queries(1):
        full = quotas.used_up()

    assert full == quotas.UsedUp({}, {})


def test_a_run_that_waits_for_a_quota_says_whose(project: Project, person: User) -> None:
    Quota.objects.create(person=person, running_runs=1)
    mine, theirs, elsewhere = queued_run(project), queued_run(project), queued_run(new_project("elsewhere"))
    Run.objects.filter(pk=mine.pk).update(created_by=person)
    Run.objects.filter(pk=elsewhere.pk).update(created_by=person, state=State.RUNNING, attempt=1)
    mine.refresh_from_db()
    by_person = quotas.used_up()
    Quota.objects.create(project=project, running_runs=1)
    Run.objects.filter(pk=queued_run(project).pk).update(state=State.RUNNING, attempt=1)
    by_project = quotas.used_up()
    Quota.objects.filter(project=project).update(running_runs=0)
    at_rest = quotas.used_up()

    assert by_person.why(mine) == "Who launched it has as many runs running as allowed (1); this one waits until one ends."
    assert by_person.why(theirs) == ""
    assert at_rest.why(mine) == "The project may have no run running now; an administrator can change that."
    assert by_project.why(mine) == "The project has as many runs running as allowed (1); this one waits until one ends."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("steps", "'steps' must be one of queued_runs, running_runs, steps, seconds, store_bytes, an equals sign, and a number from 1 on."),
        ("stpes=5", "'stpes=5' must be one of"),
        ("steps=0", "'steps=0' must be one of"),
        ("steps=inf", "'steps=inf' must be one of"),
    ],
)
def test_an_operators_limit_that_is_misspelled_stops_the_start(text: str, sentence: str) -> None:
    said = _settings_with(text)

    assert f"STILLHOUSE_PROJECT_QUOTA: {sentence}" in said


def test_an_operators_limits_are_numbers_with_names() -> None:
    assert _settings_with("queued_runs=20, store_bytes=5e9") == "{'queued_runs': 20, 'store_bytes': 5000000000}\n"


def _settings_with(text: str) -> str:
    """What a process says whose operator has set these limits."""
    program = "from django.conf import settings; print(settings.PROJECT_QUOTA)"
    environment = os.environ | {"STILLHOUSE_PROJECT_QUOTA": text, "DJANGO_SETTINGS_MODULE": "webapp.settings"}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    return ended.stdout + ended.stderr
