"""Runs and artifacts for the people who may see them. Permission is asked inside: nobody holds a run that they may not see."""

from typing import TYPE_CHECKING
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404

from webapp.accounts.models import Role
from webapp.accounts.permissions import Person, require, role_subquery, token_of
from webapp.runs.models import Artifact, Run

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

    from webapp.accounts.permissions import HasRole

    RunOfMine = WithAnnotations[Run, HasRole]


def run_for(user: Person, run_id: UUID, at_least: Role = Role.VIEWER) -> "RunOfMine":
    """The run with its project, method, task, creator and baseline, if the person may act on it in that role. One statement.

    Runs in the trash are found too: their page offers to restore them. Raises Http404 for strangers, PermissionDenied for too low a role.
    """
    run = runs_seen_by(user).filter(pk=run_id).select_related("project", "method", "task", "created_by", "baseline").first()
    if run is None:
        raise Http404("There is no such run, or it is not in a project of yours.")
    require(user, run.project, Role(run.my_role), at_least)
    return run


def runs_seen_by(user: Person) -> "QuerySet[RunOfMine]":
    """Every run of the person's projects, in the trash or not, each with `my_role`; those of one project when the request came with a token."""
    seen = Run.objects.annotate(my_role=role_subquery(user, "project_id")).filter(my_role__isnull=False)
    token = token_of(user)
    return seen if token is None else seen.filter(project=token.project_id)


def artifact_for(user: Person, artifact_id: UUID) -> Artifact:
    """An artifact of a run that the person may see. Raises Http404."""
    artifact = Artifact.objects.filter(pk=artifact_id, run__in=runs_seen_by(user).values("pk")).first()
    if artifact is None:
        raise Http404("There is no such artifact, or its run is not in a project of yours.")
    return artifact
