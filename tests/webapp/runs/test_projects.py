"""A project that is deleted is seen by nobody, runs nothing and opens to no token, until an owner restores it."""

from datetime import timedelta
from typing import Any

import pytest
from django.http import Http404
from django.urls import reverse
from django.utils import timezone

from tests.runs import claim, new_run, queued_run
from tests.webapp.conftest import SPEC, RunMaker, signed_in, token_of, with_token
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import AuditEntry, Membership, Project, Role, Scope, User
from webapp.accounts.permissions import projects_of
from webapp.launching.launch import take_numbers
from webapp.runs import lifecycle, projects
from webapp.runs.access import runs_seen_by
from webapp.runs.models import Run, State
from webapp.runs.projects import NameNotTyped

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def test_a_deleted_project_and_its_runs_are_seen_by_none_of_its_members(project: Project, owner: User, viewer: User) -> None:
    run = new_run(project)

    projects.trash(owner, project.slug, "Distillery")

    for person in (owner, viewer):
        assert not projects_of(person).exists() and not runs_seen_by(person).exists()
        assert as_(person).get(reverse("runs", args=[project.slug])).status_code == 404
        assert as_(person).get(reverse("run-detail", args=[run.pk])).status_code == 404
        assert signed_in(person).get(f"/api/v1/runs/{run.pk}/").status_code == 404
        assert signed_in(person).get("/api/v1/projects/").json()["results"] == []


def test_its_waiting_runs_are_stopped_and_its_held_ones_asked_to_stop(project: Project, owner: User, running_run: RunMaker) -> None:
    held, waiting, draft = running_run(), queued_run(project), new_run(project)

    projects.trash(owner, project.slug, "Distillery")

    assert Run.objects.get(pk=waiting.pk).state == Run.objects.get(pk=draft.pk).state == State.STOPPED
    assert Run.objects.get(pk=held.pk).stop_requested_by == owner
    assert AuditEntry.objects.get(verb="deleted project").detail == {"name": "Distillery", "stopped_runs": 3}


def test_runs_of_other_projects_go_on(project: Project, owner: User, elsewhere: Project) -> None:
    other = queued_run(elsewhere)

    projects.trash(owner, project.slug, "Distillery")

    held = claim()
    assert held is not None and held.run_id == other.pk


def test_its_tokens_are_refused_with_the_reason(project: Project, owner: User) -> None:
    client = with_token(token_of(owner, project, Scope.ADMIN))
    projects.trash(owner, project.slug, "Distillery")

    answer = client.get("/api/v1/me/")

    assert answer.status_code == 401
    assert answer.json() == {"detail": "The project of this token was deleted; its owner can restore it."}


@pytest.mark.parametrize("typed", ["", "distillery", "Distillery 2", "D" * 5000])
def test_who_does_not_type_the_name_deletes_nothing(typed: str, project: Project, owner: User) -> None:
    with pytest.raises(NameNotTyped, match=r"^Type the project's name, Distillery, to delete it; got '"):
        projects.trash(owner, project.slug, typed)

    assert Project.objects.get(pk=project.pk).deleted_at is None


def test_only_an_owner_deletes_and_a_stranger_finds_nothing(project: Project, reviewer: User, stranger: User) -> None:
    address = f"/api/v1/projects/{project.slug}/delete/"

    answers = [signed_in(person).post(address, {"name": "Distillery"}) for person in (reviewer, stranger)]

    assert [answer.status_code for answer in answers] == [403, 404]
    assert answers[0].json()["detail"] == "This needs the role owner in Distillery; yours is reviewer."
    assert Project.objects.get(pk=project.pk).deleted_at is None


def test_its_owner_and_staff_may_restore_it_and_nobody_else(project: Project, owner: User, reviewer: User, stranger: User) -> None:
    run = queued_run(project)
    staff = User.objects.create_user("sam", is_staff=True)
    projects.trash(owner, project.slug, "Distillery")
    for person in (reviewer, stranger):
        with pytest.raises(Http404, match=r"^There is no such project in the trash, or you are not an owner of it\.$"):
            projects.restore(person, project.slug)

    projects.restore(staff, project.slug)
    projects.trash(owner, project.slug, "Distillery")
    projects.restore(owner, project.slug)

    assert list(runs_seen_by(owner)) == [run] and Run.objects.get().state == State.STOPPED
    assert lifecycle.requeue(run, owner).state == State.QUEUED


def test_after_its_time_in_the_trash_it_is_no_longer_restored(project: Project, owner: User, settings: Any) -> None:
    settings.TRASH_DAYS = 7
    projects.trash(owner, project.slug, "Distillery")
    Project.objects.update(deleted_at=timezone.now() - timedelta(days=7, minutes=1))

    with pytest.raises(Http404):
        projects.restore(owner, project.slug)


def test_a_run_is_no_longer_restored_after_its_time_in_the_trash(project: Project, settings: Any) -> None:
    settings.TRASH_DAYS = 7
    run = lifecycle.trash(queued_run(project), "otto")
    Run.objects.update(deleted_at=timezone.now() - timedelta(days=7, minutes=1))

    with pytest.raises(lifecycle.NotAllowed, match=r"^The run was in the trash for too long; it is about to be deleted for good\.$"):
        lifecycle.restore(run, "otto")


def test_a_launch_that_meets_the_deletion_finds_no_project(project: Project, owner: User) -> None:
    projects.trash(owner, project.slug, "Distillery")

    with pytest.raises(Http404):
        take_numbers(project)  # the launch had read the project before


def test_the_page_asks_for_the_name_and_the_list_of_projects_offers_to_restore(project: Project, owner: User) -> None:
    client, delete = as_(owner), reverse("project-delete", args=[project.slug])

    refused = text_of(client.post(delete, {"name": "Distil"}, follow=True))
    deleted = text_of(client.post(delete, {"name": " Distillery "}, follow=True))
    restored = text_of(client.post(reverse("project-restore", args=[project.slug]), follow=True))

    assert "Type the project&#x27;s name, Distillery, to delete it; got &#x27;Distil&#x27;." in refused
    assert "Deleted projects" in deleted and 'aria-label="Restore Distillery"' in deleted
    assert "Restored Distillery." in restored and "Deleted projects" not in restored


def test_a_name_with_markup_stays_text_on_every_page_of_its_deletion(project: Project, owner: User) -> None:
    Project.objects.update(name="<b>Bold</b>")
    client = as_(owner)

    settings_page = text_of(client.get(reverse("project-settings", args=[project.slug])))
    after = text_of(client.post(reverse("project-delete", args=[project.slug]), {"name": "<b>Bold</b>"}, follow=True))

    assert "&lt;b&gt;Bold&lt;/b&gt;" in settings_page and "<b>Bold" not in settings_page
    assert "&lt;b&gt;Bold&lt;/b&gt;" in after and "<b>Bold" not in after


def test_a_viewer_sees_the_settings_and_only_an_owner_changes_them(project: Project, owner: User, viewer: User) -> None:
    address = reverse("project-settings", args=[project.slug])

    page = text_of(as_(viewer).get(address))
    refused = as_(viewer).post(address, {"keep_checkpoints": "on"})
    as_(owner).post(address, {"keep_checkpoints": "on"})

    assert "Only an owner changes it." in page and "Delete the project" not in page
    assert refused.status_code == 403
    assert Project.objects.get(pk=project.pk).keep_checkpoints is True


def test_the_api_changes_deletes_and_restores_a_project(project: Project, owner: User) -> None:
    client, address = signed_in(owner), f"/api/v1/projects/{project.slug}/"

    changed = client.patch(address, {"keep_checkpoints": True}).json()
    wrong = client.post(f"{address}delete/", {"name": "Still"})
    deleted = client.post(f"{address}delete/", {"name": "Distillery"}).json()
    gone = client.get(address)
    restored = client.post(f"{address}restore/").json()

    assert changed["keep_checkpoints"] is True and wrong.status_code == 409
    assert deleted["slug"] == "distillery" and deleted["deleted_at"] is not None and gone.status_code == 404
    assert restored["deleted_at"] is None and client.get(address).json()["my_role"] == "owner"


def test_a_launch_an_edit_and_a_clone_say_whether_checkpoints_are_kept(project: Project, operator: User) -> None:
    client = signed_in(operator)
    run = client.post(f"/api/v1/projects/{project.slug}/runs/", {**SPEC, "keep_checkpoints": True}).json()["runs"][0]

    edited = client.patch(f"/api/v1/runs/{run['id']}/", {"keep_checkpoints": False}).json()
    cloned = client.post(f"/api/v1/runs/{run['id']}/clone/", {"keep_checkpoints": True}).json()

    assert (run["keep_checkpoints"], edited["keep_checkpoints"], cloned["keep_checkpoints"]) == (True, False, True)
    assert Run.objects.get(pk=cloned["id"]).config_hash == Run.objects.get(pk=run["id"]).config_hash


def test_somebody_who_is_a_member_of_several_projects_keeps_the_others(project: Project, elsewhere: Project, owner: User) -> None:
    Membership.objects.create(user=owner, project=elsewhere, role=Role.VIEWER)

    projects.trash(owner, project.slug, "Distillery")

    assert [one.slug for one in projects_of(owner)] == ["elsewhere"]
