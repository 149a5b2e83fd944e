"""What a launch may ask for: quotas, time limits, and a priority before everybody else's."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from engine.errors import SpecError
from tests.webapp.conftest import SPEC
from webapp.accounts.models import Project, User
from webapp.launching.continuing import go_on
from webapp.launching.launch import body_of, clone, launch
from webapp.runs import actions
from webapp.runs.lifecycle import NotAllowed
from webapp.runs.models import Quota, Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def refused(project: Project, user: User, **body: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as error:
        launch(project, user, {**SPEC, **body})
    return {one.field: one.message for one in error.value.problems}


def test_a_launch_beyond_the_quota_makes_no_run_at_all(project: Project, operator: User) -> None:
    Quota.objects.create(project=project, queued_runs=3)

    said = refused(project, operator, seeds=4)

    assert said == {"": f"The project {project.name} has 0 of 3 runs waiting, so 4 more can't be queued; wait, or stop some."}
    assert not Run.objects.exists()


@pytest.mark.parametrize("deed", [actions.resume, actions.retry])
def test_a_stopped_run_waits_again_only_where_there_is_room(deed: Callable[[User, UUID], Run], project: Project, operator: User) -> None:
    (run,) = launch(project, operator, SPEC)
    actions.stop(operator, run.pk)
    Quota.objects.create(project=project, queued_runs=0)

    with pytest.raises(NotAllowed, match="has 0 of 0 runs waiting, so 1 more can't be queued"):
        deed(operator, run.pk)

    assert Run.objects.get().state == State.STOPPED


def test_a_continued_run_needs_room_too(project: Project, operator: User) -> None:
    (run,) = launch(project, operator, SPEC)
    Run.objects.update(
        state=State.STOPPED, finished_at=Now(), checkpoint_step=20, checkpoint_path=f"runs/{run.pk}/attempt-1/checkpoints/step-20"
    )
    Quota.objects.create(project=project, steps=30)

    with pytest.raises(SpecError, match="comes to 40 steps; the project Distillery has at most 30 for a run"):
        go_on(run, operator, {"budget": {"steps": 40}})


def test_quotas_are_asked_for_once_however_many_runs_are_launched(project: Project, operator: User) -> None:
    def statements(seeds: int) -> int:
        with CaptureQueriesContext(connection) as captured:
            launch(project, operator, {**SPEC, "seeds": seeds})
        return sum('"runs_quota"' in one["sql"] for one in captured)

    assert statements(5) == statements(1) > 0


def test_baselines_count_too(project: Project, operator: User) -> None:
    Quota.objects.create(person=operator, queued_runs=3)
    teacher = {"method": "logit-standardization", "teachers": ["mlp-16"], "with_baseline": True, "seeds": 2}

    said = refused(project, operator, **teacher)

    assert "You have 0 of 3 runs waiting, so 4 more can't be queued" in said[""]


def test_quota_and_everything_else_that_is_wrong_are_said_at_once(project: Project, operator: User) -> None:
    Quota.objects.create(project=project, steps=5)

    said = refused(project, operator, priority=9, tags=["a,b"])

    assert set(said) == {"budget", "priority", "tags.0"}


def test_a_time_limit_is_the_runs_own_or_the_operators(project: Project, operator: User, settings: Any) -> None:
    settings.RUN_SECONDS = 700

    (own,) = launch(project, operator, {**SPEC, "seconds_limit": 60})
    (operators,) = launch(project, operator, SPEC)

    assert (own.seconds_limit, operators.seconds_limit) == (60, 700)
    assert body_of(own)["seconds_limit"] == 60


@pytest.mark.parametrize("seconds", [0, -1, 1.5, "long"])
def test_a_time_limit_that_makes_no_sense_is_refused(seconds: Any, project: Project, operator: User) -> None:
    assert set(refused(project, operator, seconds_limit=seconds)) == {"seconds_limit"}


def test_before_everybody_else_is_for_owners(project: Project, operator: User, owner: User) -> None:
    said = refused(project, operator, priority=1)
    (run,) = launch(project, owner, {**SPEC, "priority": 1})

    assert said == {
        "priority": f"must be at most 0, but for the project's owners; got 1. This needs the role owner in {project.name}; yours is operator."
    }
    assert run.priority == 1


def test_an_operator_may_wait_longer_and_may_lower_what_an_owner_has_raised(project: Project, operator: User, owner: User) -> None:
    (run,) = launch(project, owner, {**SPEC, "priority": 5})

    with pytest.raises(SpecError, match="must be at most 0"):
        actions.edit(operator, run.pk, {"priority": 6})
    kept = actions.edit(operator, run.pk, {"priority": 5, "name": "same place"})
    lowered = actions.edit(operator, run.pk, {"priority": -3})

    assert (kept.priority, lowered.priority) == (5, -3)


def test_a_clone_does_not_take_a_place_that_an_owner_gave(project: Project, operator: User, owner: User) -> None:
    (run,) = launch(project, owner, {**SPEC, "priority": 5, "seconds_limit": 90})

    made = clone(run, operator)

    assert (made.priority, made.seconds_limit) == (0, 90)
