"""Signing in with an identity provider: a real one, in a process of its own, asked as a browser asks it."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import reverse

from tests.processes import Program, free_port
from tests.waiting import wait_for
from tests.webapp.accounts.credentials.surfing import HIDDEN, Surfer
from tests.webapp.pages import text_of
from webapp.accounts.credentials import identities
from webapp.accounts.credentials.identities import IdentityRefused
from webapp.accounts.models import AuditEntry, ProviderIdentity, User
from webapp.outside import IdentityProvider, identity_provider

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

PASSWORD = "a long enough password"
PEOPLE = [
    {"name": "ada", "password": "p", "email": "Ada@Example.org", "verified": True, "groups": ["lab"]},
    {"name": "bob", "password": "p", "email": "bob@example.org", "verified": False, "groups": []},
    {"name": "eve", "password": "p", "email": "eve@elsewhere.net", "verified": True, "groups": ["lab"]},
]
OFF: dict[str, Any] = {"issuer": "", "client": "", "secret": "", "title": "Lab ID", "domains": [], "groups": [], "groups_claim": "groups"}


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the provider, which runs."""
    port, folder = free_port(), tmp_path_factory.mktemp("provider")
    client = {"id": "stillhouse", "secret": "of-the-client", "redirect": "http://testserver/sign-in/provider/back/"}
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    environment |= {"PEOPLE": json.dumps(PEOPLE), "CLIENT": json.dumps(client)}
    module = "tests.webapp.accounts.credentials.identity_provider"
    with Program(["-m", module, str(port), str(folder)], environment) as provider:
        address = f"http://localhost:{port}/o"

        def answers() -> bool:
            assert provider.is_running(), provider.output
            try:
                return httpx.get(f"{address}/.well-known/openid-configuration").is_success
            except httpx.TransportError:
                return False

        wait_for(answers, seconds=60, every=0.2, what="the provider to answer")
        yield address


@pytest.fixture
def oidc(issuer: str, settings: Any) -> IdentityProvider:
    """The site with this provider, for people of example.org."""
    settings.OIDC = identity_provider(
        **OFF | {"issuer": issuer, "client": "stillhouse", "secret": "of-the-client", "domains": ["Example.org"]}
    )
    return settings.OIDC


def signed_in_by(name: str, surfer: Surfer | None = None) -> Any:
    """The page at which a person arrives who signs in with the provider."""
    surfer = surfer or Surfer()
    there = surfer.get("/sign-in/provider/")
    return surfer.sign_in_there(there, name, "p")


def test_it_is_off_unless_an_operator_names_a_provider(client: Client) -> None:
    page = text_of(client.get(reverse("sign-in")))

    codes = [client.get(reverse(name)).status_code for name in ("sign-in-provider", "sign-in-provider-back")]

    assert codes == [404, 404] and "Sign in with" not in page


def test_who_the_provider_knows_and_the_operator_lets_in_gets_an_account(oidc: IdentityProvider) -> None:
    page = signed_in_by("ada")

    user = User.objects.get()
    assert page.wsgi_request.user == user and page.status_code == 200
    assert (user.username, user.email, user.has_usable_password()) == ("ada", "ada@example.org", False)
    assert ProviderIdentity.objects.get().issuer == oidc.issuer
    assert [(entry.verb, entry.detail) for entry in AuditEntry.objects.order_by("pk")] == [
        ("made account", {"by": "Lab ID"}),
        ("signed in", {"by": "Lab ID"}),
    ]


def test_the_same_person_comes_back_to_the_same_account_whatever_their_name_here_is_now(oidc: IdentityProvider) -> None:
    signed_in_by("ada")
    User.objects.update(username="lovelace", email="other@example.org")

    page = signed_in_by("ada")

    assert page.wsgi_request.user.username == "lovelace" and User.objects.count() == 1


def test_an_account_with_that_name_and_address_is_not_taken_over(oidc: IdentityProvider) -> None:
    ours = User.objects.create_user("ada", "ada@example.org", PASSWORD)

    page = signed_in_by("ada")

    assert page.wsgi_request.user.username == "ada-2"
    assert not ours.identities.exists()


@pytest.mark.parametrize("name", ["bob", "eve"])
def test_an_address_that_is_not_verified_or_of_another_domain_is_refused(name: str, oidc: IdentityProvider) -> None:
    page = signed_in_by(name)

    assert page.status_code == 403 and not User.objects.exists()
    assert "A verified e-mail address at example.org is needed to sign in with Lab ID." in text_of(page)


def test_groups_let_in_as_well(oidc: IdentityProvider, settings: Any) -> None:
    settings.OIDC = replace(oidc, domains=frozenset(), groups=frozenset({"lab"}))

    codes = {name: signed_in_by(name).status_code for name in ("eve", "bob")}

    assert codes == {"eve": 200, "bob": 403}


def test_without_domains_and_groups_only_connected_accounts_get_in(oidc: IdentityProvider, settings: Any) -> None:
    settings.OIDC = replace(oidc, domains=frozenset())

    page = signed_in_by("ada")

    assert page.status_code == 403 and not User.objects.exists()
    assert "No account here is connected to you at Lab ID" in text_of(page)


def test_an_account_is_connected_by_its_owner_with_the_password(oidc: IdentityProvider, settings: Any) -> None:
    settings.OIDC = replace(oidc, domains=frozenset())
    user = User.objects.create_user("grace", password=PASSWORD)
    surfer = Surfer()
    surfer.site.force_login(user)

    refused = surfer.post(reverse("provider-connect"), {"password": "not the password"})
    asked = surfer.post(reverse("provider-connect"), {"password": PASSWORD})
    connected = signed_in_by("ada", surfer)

    assert "This is not your password; nothing was changed." in text_of(refused)
    assert "Continue" in text_of(asked) and "You can sign in with Lab ID from now on." in text_of(connected)
    assert signed_in_by("ada").wsgi_request.user == user


def test_who_is_signed_in_and_did_not_ask_connects_nothing(oidc: IdentityProvider, settings: Any) -> None:
    settings.OIDC = replace(oidc, domains=frozenset())
    surfer = Surfer()
    surfer.site.force_login(User.objects.create_user("grace", password=PASSWORD))

    page = signed_in_by("ada", surfer)

    assert page.status_code == 403 and not ProviderIdentity.objects.exists()


def test_an_identity_belongs_to_one_account(oidc: IdentityProvider) -> None:
    one, other = (User.objects.create_user(name, password=PASSWORD) for name in ("one", "other"))
    claims = {"sub": "7", "email": "ada@example.org", "email_verified": True}
    identities.connect(one, claims)

    with pytest.raises(IdentityRefused, match=r"^This identity at Lab ID belongs to another account\.$"):
        identities.connect(other, claims)


def test_an_identity_is_taken_off_by_who_has_a_password(oidc: IdentityProvider, client: Client) -> None:
    with_password = User.objects.create_user("grace", password=PASSWORD)
    without = User.objects.create_user("ada")
    for user in (with_password, without):
        ProviderIdentity.objects.create(user=user, issuer=oidc.issuer, subject=user.username)

    for user in (with_password, without):
        client.force_login(user)
        client.post(reverse("provider-disconnect"))

    assert [one.user for one in ProviderIdentity.objects.all()] == [without]


def test_the_provider_is_asked_with_state_nonce_and_a_hashed_proof(oidc: IdentityProvider, client: Client) -> None:
    first, second = (parse_qs(urlsplit(client.get(reverse("sign-in-provider"))["Location"]).query) for _ in range(2))

    assert first["code_challenge_method"] == ["S256"] and first["scope"] == ["openid email profile"]
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name][0]) >= 20 and first[name] != second[name]


def test_a_way_back_that_another_browser_began_leads_nowhere(oidc: IdentityProvider) -> None:
    attacker, victim = Surfer(), Surfer()
    there = attacker.get("/sign-in/provider/")
    hidden = {"username": "ada", "password": "p", **dict(HIDDEN.findall(there.text))}
    code = attacker.ask("POST", str(there.url), hidden)
    way_back = attacker.ask("GET", str(httpx.URL(str(there.url)).join(code.headers["Location"]))).headers["Location"]

    page = victim.get(way_back)

    assert way_back.startswith("http://testserver/sign-in/provider/back/?") and "code=" in way_back
    assert page.status_code == 502 and not User.objects.exists()
    assert "Lab ID did not confirm who you are; start again." in text_of(page)


def test_a_way_back_is_good_once(oidc: IdentityProvider) -> None:
    surfer = Surfer()
    signed_in_by("ada", surfer)
    (way_back,) = (address for address in surfer.visited if "/back/" in address)
    surfer.site.logout()

    assert surfer.get(way_back).status_code == 502


def test_a_token_of_another_issuer_is_refused(oidc: IdentityProvider, settings: Any) -> None:
    # The same provider, under an address at which it is found and which it does not call its own.
    settings.OIDC = replace(oidc, issuer=f"{oidc.issuer}/")

    page = signed_in_by("ada")

    assert page.status_code == 502 and not User.objects.exists()
    assert "Lab ID did not confirm who you are; start again." in text_of(page)


def test_a_provider_that_is_away_is_said_to_be(settings: Any, client: Client, db: None) -> None:
    settings.OIDC = identity_provider(**OFF | {"issuer": f"http://localhost:{free_port()}", "client": "stillhouse"})

    answer = client.get(reverse("sign-in-provider"))

    assert answer.status_code == 502 and "Lab ID can&#x27;t be reached; try again in a moment." in text_of(answer)


def test_who_may_no_longer_sign_in_may_not_here_either(oidc: IdentityProvider) -> None:
    signed_in_by("ada")
    User.objects.update(is_active=False)

    page = signed_in_by("ada")

    assert page.status_code == 403 and "This account may not sign in; ask an administrator." in text_of(page)


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"sub": ""},
        {"sub": 7},
        {"sub": "7", "email": "ada@example.org", "email_verified": "true"},
        {"sub": "7", "email": ["ada@example.org"], "email_verified": True},
        {"sub": "7", "email": "ada@example.org.evil.net", "email_verified": True},
    ],
)
def test_claims_that_are_not_what_they_should_be_let_nobody_in(claims: dict[str, Any], oidc: IdentityProvider) -> None:
    with pytest.raises(IdentityRefused):
        identities.account_of(claims)

    assert not User.objects.exists()


@pytest.mark.parametrize(("wanted", "name"), [("a b/<x>@y", "abx"), ("", "person"), ("grace@example.org", "grace-2"), ("é", "person")])
def test_a_new_account_gets_a_name_that_is_free_and_plain(wanted: str, name: str, oidc: IdentityProvider) -> None:
    User.objects.create_user("Grace")

    user = identities.account_of({"sub": "7", "email": "p@example.org", "email_verified": True, "preferred_username": wanted})

    assert user.username == name


@pytest.mark.parametrize("issuer", ["http://example.org", "ftp://localhost", "example.org"])
def test_a_provider_in_the_clear_is_refused(issuer: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refused:
        identity_provider(**OFF | {"issuer": issuer, "client": "stillhouse"})

    assert str(refused.value) == f"STILLHOUSE_OIDC_ISSUER must be an https:// address; got {issuer!r}."
