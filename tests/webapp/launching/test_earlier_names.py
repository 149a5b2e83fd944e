"""A run that was stored while a setting had another name is cloned, shown and compared as one of today."""

import pytest
from django.urls import reverse

from tests.webapp.conftest import SPEC, RunMaker, signed_in
from webapp.accounts.models import Project, User
from webapp.launching.launch import clone, launch
from webapp.runs.models import Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def as_stored_before(run: Run) -> Run:
    """The run as the version before the renaming stored it."""
    settings = dict(run.spec["settings"])
    settings["micro_batches"] = settings.pop("gradient_accumulation_steps")
    Run.objects.filter(pk=run.pk).update(spec={**run.spec, "settings": settings})
    run.refresh_from_db()
    return run


def test_a_clone_of_it_is_of_its_group_and_what_is_changed_by_either_name_changes(project: Project, operator: User) -> None:
    stored = as_stored_before(launch(project, operator, {**SPEC, "settings": {"micro_batches": 2}})[0])

    copy = clone(stored, operator)
    by_today, by_earlier = (clone(copy, operator, {"settings": {name: 4}}) for name in ("gradient_accumulation_steps", "micro_batches"))

    assert copy.spec["settings"]["gradient_accumulation_steps"] == 2
    assert copy.config_hash == stored.config_hash
    assert by_today.spec["settings"]["gradient_accumulation_steps"] == by_earlier.spec["settings"]["gradient_accumulation_steps"] == 4


def test_its_page_and_the_form_of_its_clone_show_the_name_of_today(operator: User, running_run: RunMaker) -> None:
    stored = as_stored_before(running_run())
    client = signed_in(operator)

    page = client.get(reverse("run-detail", args=[stored.pk])).content.decode()
    form = client.get(reverse("launch", args=["distillery"]), {"clone": str(stored.pk)}).content.decode()

    assert "Gradient accumulation steps" in page
    assert 'name="settings.gradient_accumulation_steps"' in form
    assert "icro_batches" not in page + form and "icro batches" not in page + form


def test_beside_a_run_of_today_it_differs_in_nothing_but_what_was_chosen(viewer: User, finished_run: RunMaker) -> None:
    stored = as_stored_before(finished_run(name="earlier"))
    today = finished_run(name="today", settings={"learning_rate": 0.5})

    page = signed_in(viewer).get(reverse("compare", args=["distillery"]), {"runs": f"{stored.pk},{today.pk}"}).content.decode()

    assert "settings.learning_rate" in page
    assert "micro_batches" not in page and "gradient_accumulation_steps" not in page
