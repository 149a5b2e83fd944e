"""API tokens: made once, shown once, limited, ended."""

import hashlib
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.utils import timezone

from tests.webapp.conftest import signed_in, token_of, with_token
from tests.webapp.pages import as_, text_of
from webapp.accounts import keyed, tokens
from webapp.accounts.models import ApiToken, AuditEntry, Membership, Project, Role, Scope, User
from webapp.gate.rates import Rate

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

TOKENS = "/api/v1/tokens/"


def test_a_token_is_shp_and_32_random_bytes_and_only_a_keyed_hash_of_it_is_stored(viewer: User, project: Project) -> None:
    token, text = tokens.make(viewer, project, name="notebook", scope=Scope.READ)

    assert re.fullmatch(r"shp_[A-Za-z0-9_-]{43}", text)
    stored = ApiToken.objects.filter(pk=token.pk).values().get()
    assert stored["digest"] == keyed.digests(text, purpose="api-token")[0]
    assert text not in str(stored) and hashlib.sha256(text.encode()).hexdigest() not in str(stored)
    assert stored["prefix"] == text[:10]


def test_the_text_is_in_the_answer_that_makes_it_and_in_no_other(viewer: User) -> None:
    client = signed_in(viewer)

    made = client.post(TOKENS, {"project": "distillery", "name": "notebook", "scope": "launch", "days": 30})

    assert made.status_code == 201
    listed = client.get(TOKENS).json()["results"]
    assert [(one["name"], one["scope"], one["project"]) for one in listed] == [("notebook", "launch", "distillery")]
    assert made.json()["token"] not in str(listed)
    assert with_token(made.json()["token"]).get("/api/v1/me/").json()["scope"] == "launch"


def test_making_a_token_is_in_the_audit_trail_without_its_text(viewer: User, project: Project) -> None:
    _, text = tokens.make(viewer, project, name="notebook", scope=Scope.READ)

    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.target, entry.detail) == ("made token", text[:10], {"name": "notebook", "scope": "read", "days": 90})


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"name": "n"}, "project", "This field is required."),
        ({"project": "distillery", "name": "n" * 81}, "name", "Ensure this field has no more than 80 characters."),
        ({"project": "distillery", "name": "n", "scope": "all"}, "scope", '"all" is not a valid choice.'),
        ({"project": "distillery", "name": "n", "days": 367}, "days", "Ensure this value is less than or equal to 366."),
    ],
)
def test_a_token_that_makes_no_sense_is_refused(viewer: User, body: dict[str, object], field: str, message: str) -> None:
    answer = signed_in(viewer).post(TOKENS, body)

    assert answer.status_code == 400
    assert answer.json() == {"errors": [{"field": field, "message": message}]}


def test_no_token_is_made_for_a_project_of_others(viewer: User, elsewhere: Project) -> None:
    answer = signed_in(viewer).post(TOKENS, {"project": "elsewhere", "name": "n"})

    assert answer.status_code == 404


@pytest.mark.parametrize("scope", [Scope.READ, Scope.LAUNCH])
def test_a_token_below_admin_makes_no_tokens(owner: User, project: Project, scope: Scope) -> None:
    answer = with_token(token_of(owner, project, scope)).post(TOKENS, {"project": "distillery", "name": "n"})

    assert answer.status_code == 403
    assert answer.json() == {
        "detail": f"This needs a token with the scope admin, or a signed-in person; the scope of {scope} token is {scope}."
    }


def test_an_admin_token_makes_tokens_of_its_own_project_only(owner: User, project: Project, elsewhere: Project) -> None:
    Membership.objects.create(user=owner, project=elsewhere, role=Role.OWNER)
    client = with_token(token_of(owner, project, Scope.ADMIN))

    codes = [client.post(TOKENS, {"project": slug, "name": "n"}).status_code for slug in ("distillery", "elsewhere")]

    assert codes == [201, 404]


def test_an_expired_token_is_refused_and_says_so(viewer: User, project: Project) -> None:
    text = token_of(viewer, project)
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    answer = with_token(text).get("/api/v1/me/")

    assert answer.status_code == 401
    assert re.fullmatch(r"This token expired on \d{4}-\d\d-\d\d; make a new one on the tokens page\.", answer.json()["detail"])
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_revoked_token_is_refused_and_says_so(viewer: User, project: Project) -> None:
    text = token_of(viewer, project)
    signed_in(viewer).delete(f"{TOKENS}{ApiToken.objects.get().pk}/")

    answer = with_token(text).get("/api/v1/me/")

    assert answer.status_code == 401
    assert re.fullmatch(r"This token was revoked on \d{4}-\d\d-\d\d; make a new one on the tokens page\.", answer.json()["detail"])


@pytest.mark.parametrize("text", ["", "shp_", "shp_" + "A" * 43, "shp_\udce9", "x" * 5000])
def test_an_unknown_token_is_refused(viewer: User, text: str) -> None:
    with pytest.raises(tokens.TokenRefused, match=r"^This token is not known; make a new one on the tokens page\.$"):
        tokens.find(text)


def test_a_token_of_someone_who_may_no_longer_sign_in_is_refused(viewer: User, project: Project) -> None:
    text = token_of(viewer, project)
    User.objects.filter(pk=viewer.pk).update(is_active=False)

    answer = with_token(text).get("/api/v1/me/")

    assert answer.status_code == 401


def test_its_use_is_noted_at_most_once_a_minute(viewer: User, project: Project) -> None:
    text = token_of(viewer, project)

    tokens.find(text)
    first = ApiToken.objects.get().last_used_at
    tokens.find(text)
    again = ApiToken.objects.get().last_used_at
    ApiToken.objects.update(last_used_at=timezone.now() - timedelta(seconds=61))
    tokens.find(text)
    later = ApiToken.objects.get().last_used_at

    assert first is not None and later is not None
    assert again == first
    assert later > first


def test_nobody_revokes_the_token_of_someone_else(viewer: User, owner: User, project: Project) -> None:
    token, _ = tokens.make(viewer, project, name="hers", scope=Scope.READ)

    with pytest.raises(Http404, match=r"^There is no such token, or it is not yours\.$"):
        tokens.revoke(owner, token.pk)


def test_a_token_below_admin_revokes_itself_and_no_other(owner: User, project: Project) -> None:
    mine, _ = tokens.make(owner, project, name="this", scope=Scope.LAUNCH)
    other, _ = tokens.make(owner, project, name="other", scope=Scope.READ)
    owner.token = mine

    with pytest.raises(PermissionDenied, match=r"^A token that is not an admin's can revoke only itself\.$"):
        tokens.revoke(owner, other.pk)

    assert tokens.revoke(owner, mine.pk).revoked_at is not None


def test_a_deed_by_token_names_the_token_in_the_audit_trail(operator: User, project: Project) -> None:
    text = token_of(operator, project, Scope.LAUNCH)

    with_token(text).post("/api/v1/projects/distillery/runs/", {"method": "supervised", "task": "digits"})

    assert AuditEntry.objects.get(verb="launched").detail["token"] == text[:10]


def test_making_tokens_is_limited_and_listing_them_is_not(viewer: User, settings: Any) -> None:
    settings.RATES = settings.RATES | {"tokens": Rate(1, 3600)}
    client = signed_in(viewer)

    answers = [client.post(TOKENS, {"project": "distillery", "name": "n"}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 429]
    assert answers[1].json() == {"detail": "Too many new tokens; you may make another in 60 minutes."}
    assert 3590 < int(answers[1]["Retry-After"]) <= 3600
    assert client.get(TOKENS).status_code == 200


def test_tokens_made_on_the_page_count_with_those_made_by_the_api(viewer: User, settings: Any) -> None:
    settings.RATES = settings.RATES | {"tokens": Rate(1, 3600)}
    signed_in(viewer).post(TOKENS, {"project": "distillery", "name": "n"})

    page = as_(viewer).post("/p/distillery/tokens/", {"name": "n", "scope": "read", "days": "7"})

    assert page.status_code == 429
    assert "Too many new tokens; you may make another in 60 minutes." in text_of(page)
    assert ApiToken.objects.count() == 1


def test_me_tells_projects_and_roles(viewer: User) -> None:
    found = signed_in(viewer).get("/api/v1/me/").json()

    assert (found["username"], found["scope"]) == ("vera", None)
    assert [(one["slug"], one["my_role"]) for one in found["projects"]] == [("distillery", "viewer")]
