"""The order in which waiting runs are served."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from tests.runs import claim, new_project, queued_run
from webapp.accounts.models import Project, User
from webapp.runs.lifecycle import order
from webapp.runs.models import Quota, Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def names() -> list[str]:
    return [run.name for run in order.queue()]


def waiting(project: Project, *run_names: str, **about: object) -> None:
    for name in run_names:
        queued_run(project, name=name, **about)


def test_a_higher_priority_comes_first_and_among_equals_the_longer_wait() -> None:
    project = new_project()
    waiting(project, "first", "second")
    waiting(project, "urgent", priority=5)
    waiting(project, "leisurely", priority=-5)

    assert names() == ["urgent", "first", "second", "leisurely"]


def test_a_project_with_one_run_does_not_wait_behind_another_with_many() -> None:
    waiting(new_project("many"), "m1", "m2", "m3")
    waiting(new_project("few"), "f1")

    assert names() == ["m1", "f1", "m2", "m3"]


def test_what_a_project_already_holds_counts_before_what_it_waits_for() -> None:
    many, few = new_project("many"), new_project("few")
    waiting(many, "m1", "m2", "m3")
    assert claim() and claim()

    waiting(few, "f1", "f2", "f3")

    assert names() == ["f1", "f2", "f3", "m3"]


def test_a_run_on_many_devices_counts_as_so_many_turns() -> None:
    large, small = new_project("large"), new_project("small")
    waiting(large, "l1", "l2", device="cuda", device_kind="cuda", devices=2)
    waiting(small, "s1", "s2", "s3")

    assert names() == ["l1", "s1", "s2", "l2", "s3"]


def test_with_one_device_projects_take_turns_though_nobody_holds_anything_when_it_is_free() -> None:
    ours, theirs = new_project("ours"), new_project("theirs")
    waiting(ours, "o1", "o2")
    waiting(theirs, "t1", "t2")
    Project.objects.filter(pk=ours.pk).update(served_at=Now())
    Project.objects.filter(pk=theirs.pk).update(served_at=Now() - timedelta(hours=1))

    assert names() == ["t1", "o1", "t2", "o2"]


def test_a_project_that_was_never_served_comes_before_one_that_was() -> None:
    old, new = new_project("old"), new_project("new")
    waiting(old, "o1")
    waiting(new, "n1")
    Project.objects.filter(pk=old.pk).update(served_at=Now() - timedelta(days=30))

    assert names() == ["n1", "o1"]


def test_turns_are_within_a_priority() -> None:
    many, few = new_project("many"), new_project("few")
    waiting(many, "m1", "m2", priority=1)
    waiting(few, "f1")

    assert names() == ["m1", "m2", "f1"]


def test_what_nobody_may_start_is_not_in_the_queue() -> None:
    project = new_project()
    waiting(project, "trashed", "stopping", "running", "waits")
    Run.objects.filter(name="trashed").update(deleted_at=Now())
    Run.objects.filter(name="stopping").update(stop_requested_at=Now())
    Run.objects.filter(name="running").update(state=State.RUNNING, attempt=1)

    assert names() == ["waits"]


def test_a_project_at_its_limit_of_running_runs_waits_and_lets_the_others_pass() -> None:
    full, other = new_project("full"), new_project("other")
    Quota.objects.create(project=full, running_runs=1)
    waiting(full, "f1", "f2")
    assert claim()

    waiting(other, "o1")

    assert names() == ["o1"]


def test_a_person_at_their_limit_waits_in_every_project() -> None:
    person = User.objects.create_user("vera")
    Quota.objects.create(person=person, running_runs=1)
    for slug in ("one", "two"):
        waiting(new_project(slug), slug)
    Run.objects.update(created_by=person)
    assert claim()

    assert names() == []


def test_a_project_whose_limit_is_no_run_at_all_is_at_rest() -> None:
    project = new_project()
    Quota.objects.create(project=project, running_runs=0)
    waiting(project, "rests")

    assert names() == []
