"""Who may do what in a project. Asked inside the queries that fetch, so nobody holds an object without having asked.

A stranger gets Http404, so that what exists is not disclosed; a member whose role is too low gets PermissionDenied with a sentence. A
request that came with an API token is limited to the token's project and scope, whatever the person's role.
"""

from typing import TYPE_CHECKING, TypedDict

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest
from rest_framework.request import Request

from webapp.accounts.models import ApiToken, Membership, Project, Role, Scope, User
from webapp.accounts.trash import time_is_up

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

    class HasRole(TypedDict):
        my_role: str

    ProjectOfMine = WithAnnotations[Project, HasRole]

Person = User | AnonymousUser

HIGHEST_ROLE = {Scope.READ: Role.VIEWER, Scope.LAUNCH: Role.OPERATOR, Scope.ADMIN: Role.OWNER}
"""The highest role that a token of a scope lets its owner act in."""


def person(request: HttpRequest | Request) -> User:
    """Who signed in. For views that nobody else reaches."""
    assert isinstance(request.user, User), "the view asks for a signed-in person first"
    return request.user


def projects_of(user: Person) -> "QuerySet[ProjectOfMine]":
    """The person's projects, each with `my_role`; only the token's project when the request came with a token."""
    mine = Project.objects.annotate(my_role=role_subquery(user, "pk")).filter(my_role__isnull=False)
    token = token_of(user)
    return mine if token is None else mine.filter(pk=token.project_id)


def project_for(user: Person, slug: str, at_least: Role = Role.VIEWER) -> "ProjectOfMine":
    """The project, if the person may act in it in that role. Raises Http404 for strangers, PermissionDenied for too low a role."""
    project = projects_of(user).filter(slug=slug).first()
    if project is None:
        raise Http404("There is no such project, or you are not a member of it.")
    require(user, project, Role(project.my_role), at_least)
    return project


def trashed_projects_of(user: Person) -> QuerySet[Project]:
    """Projects in the trash that the person may restore, the newest first: those that they own; all of them for staff. None by a token."""
    trashed = Project.objects.filter(deleted_at__gte=time_is_up(), gone_at=None).order_by("-deleted_at")
    if not isinstance(user, User) or user.token is not None:
        return trashed.none()
    if user.is_staff:
        return trashed
    return trashed.filter(Exists(Membership.objects.filter(user=user, project=OuterRef("pk"), role=Role.OWNER)))


def token_of(user: Person) -> ApiToken | None:
    """The token that the request came with."""
    return user.token if isinstance(user, User) else None


def role_subquery(user: Person, project_reference: str) -> Subquery:
    """The person's role in the outer row's project, NULL for a stranger and for nobody. A project in the trash has no members."""
    of_project = Membership.objects.filter(user_id=user.pk or 0, project=OuterRef(project_reference), project__deleted_at=None)
    return Subquery(of_project.values("role")[:1])


def require(user: Person, project: Project, role: Role, at_least: Role) -> None:
    """Raises PermissionDenied, with a sentence, unless the person's role and the request's token both reach `at_least`."""
    if not role.includes(at_least):
        raise PermissionDenied(f"This needs the role {at_least.value} in {project.name}; yours is {role.value}.")
    token = token_of(user)
    if token is not None and not HIGHEST_ROLE[Scope(token.scope)].includes(at_least):
        needed = next(scope for scope in Scope if HIGHEST_ROLE[scope].includes(at_least))
        raise PermissionDenied(f"This needs a token with the scope {needed.value}; the scope of {token.name} is {token.scope}.")
