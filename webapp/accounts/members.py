"""Who is in a project, and in which role. Only an owner changes that, and a project always keeps one."""

from django.core.exceptions import PermissionDenied
from django.db import transaction

from webapp.accounts import audit
from webapp.accounts.models import Membership, Project, Role, User
from webapp.accounts.permissions import project_for
from webapp.api.body import NO_TEXT


class MemberRefused(Exception):
    """A membership can't be changed so. The message is a sentence for the person who asked."""


def members_of(project: Project) -> list[Membership]:
    """Owners first, then by role and name."""
    found = list(Membership.objects.filter(project=project).select_related("user"))
    return sorted(found, key=lambda one: (-Role(one.role).rank, one.user.get_username()))


@transaction.atomic
def put(owner: User, slug: str, username: str, role: str) -> Membership:
    """Makes a person a member in a role, or changes the role. Raises MemberRefused, PermissionDenied, Http404."""
    project = _locked(owner, slug)
    if role not in Role.values:
        raise MemberRefused(f"role must be one of {', '.join(Role.values)}; got {role!r:.40}.")
    user = None if NO_TEXT.search(username) else User.objects.filter(username=username.strip(), is_active=True).first()
    if user is None:
        raise MemberRefused(f"There is no user with the name {username.strip()!r:.80}; an administrator can make one.")
    if role != Role.OWNER:
        _keep_an_owner(project, without=user)
    membership, _ = Membership.objects.update_or_create(project=project, user=user, defaults={"role": role})
    audit.record(owner, project, "made member", user.get_username(), role=role)
    return membership


@transaction.atomic
def remove(owner: User, slug: str, username: str) -> None:
    """Ends a membership. The person's runs stay. Raises MemberRefused, PermissionDenied, Http404."""
    project = _locked(owner, slug)
    members = Membership.objects.filter(project=project).select_related("user")
    membership = None if NO_TEXT.search(username) else members.filter(user__username=username).first()
    if membership is None:
        raise MemberRefused(f"{username!r:.80} is not a member of {project.name}.")
    _keep_an_owner(project, without=membership.user)
    membership.delete()
    audit.record(owner, project, "removed member", username)


def _locked(owner: User, slug: str) -> Project:
    """The project's row locked, so that two owners can't remove each other at once."""
    project = project_for(owner, slug, Role.OWNER)
    Project.objects.select_for_update().get(pk=project.pk)
    if project_for(owner, slug).my_role != Role.OWNER:
        raise PermissionDenied("You are no longer an owner of this project.")
    return project


def _keep_an_owner(project: Project, *, without: User) -> None:
    owners = Membership.objects.filter(project=project, role=Role.OWNER)
    if owners.filter(user=without).exists() and owners.count() == 1:
        raise MemberRefused(f"{without.get_username()} is the only owner of {project.name}; make somebody else an owner first.")
