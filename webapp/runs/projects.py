"""A project's way into the trash and out of it again. What becomes of it there after a while is retention's affair (webapp/operate)."""

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models.functions import Now
from django.http import Http404

from webapp.accounts import audit
from webapp.accounts.models import Project, Role, User
from webapp.accounts.permissions import project_for, trashed_projects_of
from webapp.conflict import Conflict
from webapp.runs import lifecycle
from webapp.runs.models import HELD, Run, State

UNDER_WAY = (State.DRAFT, State.QUEUED, *HELD)


class NameNotTyped(Conflict):
    """A project is deleted only by who types its name."""


@transaction.atomic
def trash(owner: User, slug: str, typed: str) -> Project:
    """Puts a project into the trash: nobody sees it, its tokens are refused, its runs are stopped. `typed` must be its name.

    Raises NameNotTyped, PermissionDenied for anyone but an owner, Http404 for strangers.
    """
    project = project_for(owner, slug, Role.OWNER)
    if " ".join(typed.split()) != " ".join(project.name.split()):
        raise NameNotTyped(f"Type the project's name, {project.name}, to delete it; got {typed.strip()!r:.140}.")
    # The row first: a launch at the same moment waits for it, and then finds the project gone.
    if not Project.objects.filter(pk=project.pk, deleted_at=None).update(deleted_at=Now()):
        raise Http404("There is no such project, or you are not a member of it.")
    stopped = stop_runs_of(project, owner)
    audit.record(owner, project, "deleted project", project.slug, name=project.name, stopped_runs=stopped)
    return Project.objects.get(pk=project.pk)


@transaction.atomic
def restore(user: User, slug: str) -> Project:
    """Takes a project out of the trash, for an owner of it or for staff. Its stopped runs stay stopped. Raises Http404, PermissionDenied."""
    if user.token is not None:
        raise PermissionDenied("A deleted project is restored by a signed-in person, not with a token.")
    project = trashed_projects_of(user).filter(slug=slug).first()
    if project is None or not Project.objects.filter(pk=project.pk, gone_at=None).update(deleted_at=None):
        raise Http404("There is no such project in the trash, or you are not an owner of it.")
    audit.record(user, project, "restored project", project.slug, name=project.name)
    return Project.objects.get(pk=project.pk)


@transaction.atomic
def keep_checkpoints(owner: User, slug: str, keep: bool) -> Project:
    """Whether the project's runs keep their checkpoints after they have succeeded. Raises PermissionDenied, Http404."""
    project = project_for(owner, slug, Role.OWNER)
    Project.objects.filter(pk=project.pk).update(keep_checkpoints=keep)
    audit.record(owner, project, "changed project", project.slug, keep_checkpoints=keep)
    return project_for(owner, slug)


def stop_runs_of(project: Project, who: User | str) -> int:
    """Asks every run under way to stop, in the order of their ids, so that two who do this don't wait for each other. Returns how many."""
    count = 0
    for run in Run.objects.filter(project=project, state__in=UNDER_WAY, stop_requested_at=None).order_by("pk"):
        try:
            lifecycle.request_stop(run, who)
        except lifecycle.NotAllowed:  # it has ended by itself meanwhile
            continue
        count += 1
    return count
