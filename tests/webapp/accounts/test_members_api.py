"""Members over REST: by the same rules and sentences as on their page."""

from typing import Any

import pytest
from django.urls import reverse

from tests.webapp.conftest import signed_in, token_of, with_token
from webapp.accounts.models import AuditEntry, Membership, Project, Role, Scope, User

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def address(project: Project, username: str = "") -> str:
    return reverse("api:member", args=[project.slug, username]) if username else reverse("api:members", args=[project.slug])


def roles(project: Project) -> dict[str, str]:
    return dict(Membership.objects.filter(project=project).values_list("user__username", "role"))


def test_members_are_listed_by_name_for_everyone_in_the_project(project: Project, owner: User, viewer: User, stranger: User) -> None:
    seen, unseen = (signed_in(who).get(address(project)) for who in (viewer, stranger))

    listed = [(one["username"], one["role"]) for one in seen.json()["results"]]
    assert listed == [("olga", "owner"), ("vera", "viewer")]
    assert unseen.status_code == 404


def test_a_page_of_members_costs_the_same_however_many_there_are(project: Project, viewer: User, django_assert_num_queries: Any) -> None:
    for number in range(30):
        Membership.objects.create(user=User.objects.create_user(f"member-{number}"), project=project, role=Role.VIEWER)
    client = signed_in(viewer)

    with django_assert_num_queries(5):  # session, person, project, count, members
        answer = client.get(address(project))

    assert answer.json()["count"] == 31


def test_an_owner_adds_a_member_changes_the_role_and_ends_the_membership(project: Project, owner: User, stranger: User) -> None:
    client = signed_in(owner)

    added = client.put(address(project, "stan"), {"role": "viewer"})
    changed = client.put(address(project, "stan"), {"role": "operator"})
    before = roles(project)
    removed = client.delete(address(project, "stan"))

    assert [added.json()["role"], changed.json()["role"]] == ["viewer", "operator"]
    assert before == {"olga": "owner", "stan": "operator"} and roles(project) == {"olga": "owner"}
    assert (removed.status_code, removed.content) == (204, b"")
    assert sorted(AuditEntry.objects.values_list("verb", flat=True)) == ["made member", "made member", "removed member"]


@pytest.mark.parametrize(
    ("name", "body", "field", "message"),
    [
        ("nobody", {"role": "viewer"}, "", "There is no user with the name 'nobody'; an administrator can make one."),
        ("olga", {"role": "viewer"}, "", "olga is the only owner of Distillery; make somebody else an owner first."),
        ("olga", {"role": "king"}, "role", '"king" is not a valid choice.'),
        ("olga", {}, "role", "This field is required."),
    ],
)
def test_what_can_not_be_is_refused_in_a_sentence(
    name: str, body: dict[str, str], field: str, message: str, project: Project, owner: User
) -> None:
    answer = signed_in(owner).put(address(project, name), body)

    assert (answer.status_code, answer.json()) == (400, {"errors": [{"field": field, "message": message}]})
    assert roles(project) == {"olga": "owner"}


def test_whoever_is_no_member_can_not_be_removed(project: Project, owner: User, stranger: User) -> None:
    answer = signed_in(owner).delete(address(project, "stan"))

    assert answer.json() == {"errors": [{"field": "", "message": "'stan' is not a member of Distillery."}]}


def test_only_an_owner_with_a_token_for_it_changes_members(project: Project, owner: User, reviewer: User) -> None:
    clients = [signed_in(reviewer), with_token(token_of(owner, project, Scope.LAUNCH))]

    answers = [client.put(address(project, "rita"), {"role": "owner"}) for client in clients]
    by_admin = with_token(token_of(owner, project, Scope.ADMIN)).put(address(project, "rita"), {"role": "owner"})

    assert [answer.status_code for answer in answers] == [403, 403]
    assert by_admin.status_code == 200 and roles(project)["rita"] == "owner"
