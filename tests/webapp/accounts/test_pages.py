"""The pages of members and tokens, and signing in."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from tests.webapp.pages import as_, text_of
from webapp.accounts.models import ApiToken, Membership, Project, User

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def test_a_token_is_shown_once(project: Project, viewer: User) -> None:
    client, address = as_(viewer), reverse("tokens", args=[project.slug])

    made = text_of(client.post(address, {"name": "notebook", "scope": "read", "days": "30"}))
    again = text_of(client.get(address))

    token = re.search(r"shp_[\w-]{40,}", made)
    assert token is not None
    assert token[0] not in again and ApiToken.objects.get().prefix in again


def test_a_token_for_too_long_is_refused_beside_the_field(project: Project, viewer: User) -> None:
    answer = as_(viewer).post(reverse("tokens", args=[project.slug]), {"name": "notebook", "scope": "read", "days": "9999"})

    assert answer.status_code == 400 and not ApiToken.objects.exists()
    assert "less than or equal to 366" in text_of(answer) and 'value="notebook"' in text_of(answer)


def test_a_revoked_token_stays_in_the_list_as_revoked(project: Project, viewer: User) -> None:
    client, address = as_(viewer), reverse("tokens", args=[project.slug])
    client.post(address, {"name": "notebook", "scope": "read", "days": "30"})

    client.post(reverse("token-revoke", args=[project.slug, ApiToken.objects.get().pk]))

    assert "revoked 20" in text_of(client.get(address))


def test_an_owner_adds_a_member(project: Project, owner: User) -> None:
    User.objects.create_user("nora")

    as_(owner).post(reverse("member-put", args=[project.slug]), {"username": "nora", "role": "operator"})

    assert Membership.objects.get(user__username="nora", project=project).role == "operator"


def test_only_an_owner_changes_members(project: Project, owner: User, reviewer: User) -> None:
    answer = as_(reviewer).post(reverse("member-remove", args=[project.slug]), {"username": owner.username})

    assert answer.status_code == 403 and Membership.objects.filter(user=owner).exists()


@pytest.mark.parametrize(("view", "role"), [("member-remove", ""), ("member-put", "viewer")])
def test_a_project_keeps_an_owner(view: str, role: str, project: Project, owner: User) -> None:
    page = text_of(as_(owner).post(reverse(view, args=[project.slug]), {"username": owner.username, "role": role}, follow=True))

    assert "olga is the only owner of Distillery; make somebody else an owner first." in page
    assert Membership.objects.get(user=owner).role == "owner"


def test_signing_in_with_a_wrong_password_says_so(db: None) -> None:
    User.objects.create_user("nora", password="a long enough password")

    page = text_of(Client().post(reverse("sign-in"), {"username": "nora", "password": "wrong"}))

    assert 'role="alert"' in page and "Please enter a correct username and password" in page


def test_signing_in_leads_to_where_one_wanted_to_go(db: None) -> None:
    User.objects.create_user("nora", password="a long enough password")

    answer = Client().post(reverse("sign-in"), {"username": "nora", "password": "a long enough password", "next": "/p/x/launch/"})

    assert answer["Location"] == "/p/x/launch/"
