"""Who is in a project: what an owner may change, what is refused in which words, and what is written down of it."""

import threading
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, connection, transaction
from django.http import Http404
from django.urls import reverse

from tests.runs import new_project
from tests.webapp.conftest import token_of, with_token
from tests.webapp.pages import as_, text_of
from webapp.accounts import members, tokens
from webapp.accounts.members import MemberRefused
from webapp.accounts.models import ApiToken, AuditEntry, Membership, Project, Role, Scope, User
from webapp.accounts.permissions import project_for, projects_of, require

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def roles(project: Project) -> dict[str, str]:
    return {one.user.get_username(): one.role for one in members.members_of(project)}


def test_members_are_listed_by_role_and_then_by_name(project: Project, viewer: User, owner: User, operator: User, stranger: User) -> None:
    for name in ("anna", "zoe"):
        Membership.objects.create(user=User.objects.create_user(name), project=project, role=Role.OPERATOR)

    assert list(roles(project).items()) == [
        ("olga", "owner"),
        ("anna", "operator"),
        ("otto", "operator"),
        ("zoe", "operator"),
        ("vera", "viewer"),
    ]


def test_an_owner_changes_a_role_and_it_is_written_down(project: Project, owner: User, viewer: User) -> None:
    changed = members.put(owner, project.slug, " vera ", "reviewer")

    assert (changed.user, roles(project)) == (viewer, {"olga": "owner", "vera": "reviewer"})
    entry = AuditEntry.objects.get()
    assert (entry.user, entry.project, entry.verb, entry.target, entry.detail) == (
        owner,
        project,
        "made member",
        "vera",
        {"role": "reviewer"},
    )


def test_an_owner_steps_down_when_there_is_another(project: Project, owner: User, viewer: User) -> None:
    members.put(owner, project.slug, "vera", "owner")
    members.put(owner, project.slug, "olga", "viewer")

    assert roles(project) == {"vera": "owner", "olga": "viewer"}
    with pytest.raises(PermissionDenied, match=r"^This needs the role owner in Distillery; yours is viewer\.$"):
        members.put(owner, project.slug, "olga", "owner")
    assert members.put(viewer, project.slug, "vera", "owner").role == "owner"  # the only owner stays one


@pytest.mark.parametrize(
    ("username", "role", "sentence"),
    [
        ("vera", "emperor", "role must be one of viewer, operator, reviewer, owner; got 'emperor'."),
        ("vera", "", "role must be one of viewer, operator, reviewer, owner; got ''."),
        ("nobody", "viewer", "There is no user with the name 'nobody'; an administrator can make one."),
        (" ", "viewer", "There is no user with the name ''; an administrator can make one."),
        ("left", "viewer", "There is no user with the name 'left'; an administrator can make one."),
        ("ve\0ra", "viewer", r"There is no user with the name 've\x00ra'; an administrator can make one."),
        ("VERA", "viewer", "There is no user with the name 'VERA'; an administrator can make one."),
        ("olga", "reviewer", "olga is the only owner of Distillery; make somebody else an owner first."),
    ],
)
def test_a_membership_that_makes_no_sense_is_refused_and_nothing_is_written(
    username: str, role: str, sentence: str, project: Project, owner: User, viewer: User
) -> None:
    User.objects.create_user("left", is_active=False)

    with pytest.raises(MemberRefused) as refused:
        members.put(owner, project.slug, username, role)

    assert str(refused.value) == sentence
    assert roles(project) == {"olga": "owner", "vera": "viewer"} and not AuditEntry.objects.exists()


@pytest.mark.parametrize("username", ["nobody", "stan", "", "ve\0ra"])
def test_only_a_member_is_removed(username: str, project: Project, owner: User, stranger: User) -> None:
    with pytest.raises(MemberRefused) as refused:
        members.remove(owner, project.slug, username)

    assert str(refused.value) == f"{username!r} is not a member of Distillery."
    assert Membership.objects.filter(user=stranger).exists()


def test_a_removed_member_is_one_of_other_projects_still(project: Project, elsewhere: Project, owner: User, viewer: User) -> None:
    Membership.objects.create(user=viewer, project=elsewhere, role=Role.OPERATOR)

    members.remove(owner, project.slug, "vera")

    assert [one.slug for one in projects_of(viewer)] == ["elsewhere"]
    assert (AuditEntry.objects.get().verb, AuditEntry.objects.get().target) == ("removed member", "vera")
    with pytest.raises(Http404, match=r"^There is no such project, or you are not a member of it\.$"):
        project_for(viewer, project.slug)


def test_an_owner_of_another_project_changes_nothing_here(project: Project, owner: User, stranger: User) -> None:
    for change in (lambda: members.put(stranger, project.slug, "stan", "owner"), lambda: members.remove(stranger, project.slug, "olga")):
        with pytest.raises(Http404):
            change()

    assert roles(project) == {"olga": "owner"}


@pytest.mark.django_db(transaction=True)
def test_two_owners_who_remove_each_other_at_the_same_moment_leave_one(project: Project, owner: User) -> None:
    second = User.objects.create_user("oona")
    Membership.objects.create(user=second, project=project, role=Role.OWNER)
    barrier, refused = threading.Barrier(2), []

    def remove(who: User, whom: str) -> None:
        barrier.wait()
        try:
            members.remove(who, project.slug, whom)
        except (MemberRefused, PermissionDenied, Http404) as error:
            refused.append(str(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=remove, args=pair) for pair in ((owner, "oona"), (second, "olga"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(roles(project)) == 1 and len(refused) == 1
    assert set(roles(project).values()) == {"owner"}


def test_the_database_knows_no_other_role_scope_or_second_membership(project: Project, viewer: User) -> None:
    def refused(make: Any) -> bool:
        try:
            with transaction.atomic():
                make()
        except IntegrityError:
            return True
        return False

    assert refused(lambda: Membership.objects.filter(user=viewer).update(role="emperor"))
    assert refused(lambda: Membership.objects.create(user=viewer, project=project, role=Role.OWNER))
    tokens.make(viewer, project, name="n", scope=Scope.READ)
    assert refused(lambda: ApiToken.objects.update(scope="all"))


# Pages


def test_who_removes_himself_is_led_to_his_projects_and_who_removes_another_stays(project: Project, owner: User, viewer: User) -> None:
    Membership.objects.create(user=User.objects.create_user("oona"), project=project, role=Role.OWNER)
    browser, address = as_(owner), reverse("member-remove", args=[project.slug])

    stays = browser.post(address, {"username": "vera"})
    leaves = browser.post(address, {"username": "olga"})

    assert (stays.headers["Location"], leaves.headers["Location"]) == (reverse("members", args=[project.slug]), reverse("home"))
    assert roles(project) == {"oona": "owner"}


def test_only_an_owner_finds_the_controls_for_members_and_names_are_only_text(project: Project, owner: User, viewer: User) -> None:
    User.objects.filter(pk=viewer.pk).update(first_name="<b>Vera</b>", last_name="&")
    address = reverse("members", args=[project.slug])

    seen = {person.username: text_of(as_(person).get(address)) for person in (owner, viewer)}

    assert reverse("member-put", args=[project.slug]) in seen["olga"] and reverse("member-put", args=[project.slug]) not in seen["vera"]
    assert all("&lt;b&gt;Vera&lt;/b&gt; &amp;" in page for page in seen.values())


def test_a_refusal_says_what_was_typed_without_becoming_html(project: Project, owner: User) -> None:
    page = text_of(as_(owner).post(reverse("member-put", args=[project.slug]), {"username": "<i>", "role": "viewer"}, follow=True))

    assert "There is no user with the name &#x27;&lt;i&gt;&#x27;; an administrator can make one." in page


@pytest.mark.parametrize("view", ["member-put", "member-remove"])
def test_members_are_changed_by_a_post_alone(view: str, project: Project, owner: User) -> None:
    assert as_(owner).get(reverse(view, args=[project.slug])).status_code == 405


# Roles and tokens


@pytest.mark.parametrize("at_least", Role)
@pytest.mark.parametrize("role", Role)
def test_each_role_may_what_the_ones_before_it_may(role: Role, at_least: Role, project: Project) -> None:
    order = ["viewer", "operator", "reviewer", "owner"]
    if order.index(role) >= order.index(at_least):
        require(User(username="u"), project, role, at_least)
        return
    with pytest.raises(PermissionDenied) as refused:
        require(User(username="u"), project, role, at_least)

    assert str(refused.value) == f"This needs the role {at_least.value} in Distillery; yours is {role.value}."


@pytest.mark.parametrize(
    ("scope", "at_least", "needed"),
    [
        (Scope.READ, Role.VIEWER, None),
        (Scope.READ, Role.OPERATOR, "launch"),
        (Scope.READ, Role.OWNER, "admin"),
        (Scope.LAUNCH, Role.OPERATOR, None),
        (Scope.LAUNCH, Role.REVIEWER, "admin"),
        (Scope.ADMIN, Role.OWNER, None),
    ],
)
def test_a_tokens_scope_limits_an_owner_and_the_refusal_names_the_one_that_is_needed(
    scope: Scope, at_least: Role, needed: str | None, project: Project, owner: User
) -> None:
    owner.token = ApiToken(name="ci", scope=scope, project=project)

    if needed is None:
        assert project_for(owner, project.slug, at_least) == project
        return
    with pytest.raises(PermissionDenied) as refused:
        project_for(owner, project.slug, at_least)

    assert str(refused.value) == f"This needs a token with the scope {needed}; the scope of ci is {scope.value}."


def test_a_token_shows_its_own_project_and_its_own_tokens_alone(project: Project, owner: User) -> None:
    third = new_project("third")
    Membership.objects.create(user=owner, project=third, role=Role.OWNER)
    theirs, here = token_of(owner, third), token_of(owner, project)

    found = with_token(here)

    assert [one["slug"] for one in found.get("/api/v1/projects/").json()["results"]] == ["distillery"]
    assert [one["slug"] for one in found.get("/api/v1/me/").json()["projects"]] == ["distillery"]
    assert [one["project"] for one in found.get("/api/v1/tokens/").json()["results"]] == ["distillery"]
    other = ApiToken.objects.get(project=third)
    assert found.delete(f"/api/v1/tokens/{other.pk}/").status_code == 404
    assert with_token(theirs).get("/api/v1/me/").status_code == 200


def test_tokens_are_listed_newest_first_and_revoking_again_changes_nothing(project: Project, viewer: User) -> None:
    made = [tokens.make(viewer, project, name=f"t{number}", scope=Scope.READ)[0] for number in range(3)]

    first = tokens.revoke(viewer, made[1].pk)
    again = tokens.revoke(viewer, made[1].pk)

    assert [one.name for one in tokens.tokens_of(viewer)] == ["t2", "t1", "t0"]
    assert first.revoked_at == again.revoked_at is not None
    assert [entry.verb for entry in AuditEntry.objects.all()] == ["revoked token", *["made token"] * 3]


@pytest.mark.parametrize("header", ["bearer {}", "BEARER   {} ", "Bearer {}"])
def test_a_token_is_read_however_its_header_is_written(header: str, project: Project, viewer: User) -> None:
    client = with_token("")
    client.credentials(HTTP_AUTHORIZATION=header.format(token_of(viewer, project)))

    assert client.get("/api/v1/me/").json()["username"] == "vera"


@pytest.mark.parametrize("header", ["{}", "Token {}", "Basic {}", ""])
def test_a_header_of_another_kind_is_no_token(header: str, project: Project, viewer: User) -> None:
    client = with_token("")
    client.credentials(HTTP_AUTHORIZATION=header.format(token_of(viewer, project)))

    answer = client.get("/api/v1/me/")

    assert (answer.status_code, answer.json()) == (401, {"detail": "Sign in, or send a token: Authorization: Bearer shp_…."})


# The administration


def test_the_administration_shows_tokens_and_the_trail_and_changes_neither(project: Project, viewer: User) -> None:
    token, _ = tokens.make(viewer, project, name="notebook", scope=Scope.READ)
    entry = AuditEntry.objects.get()
    browser = as_(User.objects.create_superuser("admin"))

    for name, one in (("apitoken", token), ("auditentry", entry)):
        assert browser.get(reverse(f"admin:accounts_{name}_add")).status_code == 403
        address = reverse(f"admin:accounts_{name}_change", args=[one.pk])
        page = text_of(browser.get(address))
        assert token.digest not in page and token.prefix in page
        assert browser.post(address, {"name": "stolen", "verb": "nothing"}).status_code == 403
    assert browser.post(reverse("admin:accounts_auditentry_delete", args=[entry.pk]), {"post": "yes"}).status_code == 403
    assert browser.post(reverse("admin:accounts_apitoken_delete", args=[token.pk]), {"post": "yes"}).status_code == 302
    assert AuditEntry.objects.filter(pk=entry.pk).exists() and not ApiToken.objects.exists()
