"""The head of a run's page: what may be done with it, and what it learns from."""

from dataclasses import asdict
from typing import Any

import pytest
from django.utils import timezone

from tests.runs import new_project, new_run
from tests.webapp.conftest import RunMaker
from webapp.accounts.models import Project
from webapp.catalog.models import ModelRecord
from webapp.runs.models import Run, State
from webapp.runs.page.header import actions_of, start_of, teachers_of

NOW = timezone.now()


def allowed(**about: Any) -> set[str]:
    return {name for name, may in asdict(actions_of(Run(**about))).items() if may}


@pytest.mark.parametrize(
    ("about", "deeds"),
    [
        ({"state": State.DRAFT}, {"stop", "clone", "delete"}),
        ({"state": State.QUEUED}, {"stop", "clone", "delete"}),
        ({"state": State.STARTING}, {"stop", "clone"}),
        ({"state": State.RUNNING}, {"stop", "clone"}),
        ({"state": State.RUNNING, "stop_requested_at": NOW}, {"clone"}),
        ({"state": State.SUCCEEDED, "checkpoint_step": 10}, {"clone", "delete"}),
        ({"state": State.FAILED}, {"resume", "clone", "delete"}),
        ({"state": State.STOPPED, "checkpoint_step": 10}, {"resume", "retry", "clone", "delete"}),
        ({"state": State.STOPPED, "checkpoint_step": 0}, {"resume", "retry", "clone", "delete"}),
        ({"state": State.STOPPED, "checkpoint_step": 10, "deleted_at": NOW}, set()),
        ({"state": State.FAILED, "deleted_at": NOW}, set()),
    ],
)
def test_a_run_offers_what_makes_sense_in_its_state(about: dict[str, Any], deeds: set[str]) -> None:
    assert allowed(**about) == deeds


@pytest.mark.servers
@pytest.mark.django_db
def test_teachers_are_named_in_the_order_of_their_names(project: Project, finished_run: RunMaker) -> None:
    for name in ("b", "c", "a"):
        finished_run(name=name)
    run = new_run(project)
    run.teachers.set(ModelRecord.objects.all())

    assert [teacher.name for teacher in teachers_of(run)] == ["a", "b", "c"]


@pytest.mark.servers
@pytest.mark.django_db
def test_only_a_model_of_the_same_project_is_named_as_the_start(project: Project, finished_run: RunMaker) -> None:
    ours, theirs = finished_run(name="ours"), finished_run(name="theirs", of=new_project("elsewhere"))
    runs = [new_run(project, student=f"run:{origin.pk}") for origin in (ours, theirs)]

    starts = [start_of(run) for run in [*runs, new_run(project)]]

    assert [start and start.name for start in starts] == ["ours", None, None]


@pytest.mark.servers
@pytest.mark.django_db
def test_a_spec_without_a_student_has_no_start(project: Project) -> None:
    run = new_run(project)
    run.spec["student"] = None

    assert start_of(run) is None
