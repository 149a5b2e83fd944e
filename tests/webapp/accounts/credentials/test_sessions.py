"""Where a person is signed in: listed, and ended one by one or all at once."""

import re
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.webapp.conftest import token_of
from tests.webapp.pages import as_, text_of
from webapp.accounts.credentials import sessions
from webapp.accounts.models import AuditEntry, Project, Scope, SignedInSession, User

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

PASSWORD = "a long enough password"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/604.1"


@pytest.fixture
def person(db: None) -> User:
    return User.objects.create_user("nora", password=PASSWORD)


def sign_in(browser: str = FIREFOX, address: str = "192.0.2.1") -> Client:
    client = Client(headers={"User-Agent": browser}, REMOTE_ADDR=address)
    client.post(reverse("sign-in"), {"username": "nora", "password": PASSWORD})
    return client


def is_signed_in(client: Client) -> bool:
    return client.get(reverse("account")).status_code == 200


def row_of(client: Client) -> SignedInSession:
    return SignedInSession.objects.get(session=client.session.session_key)


def test_the_page_lists_browser_address_and_times_and_marks_this_one(person: User) -> None:
    here, _ = sign_in(), sign_in(PHONE, "2001:db8::7")

    page = text_of(here.get(reverse("account")))

    assert "Firefox on Linux" in page and "192.0.2.1" in page
    assert "Safari on iPhone" in page and "2001:db8::7" in page
    assert page.count("this one") == 1 and page.count(">End</button>") == 1


def test_nobody_sees_the_sessions_of_others(person: User, viewer: User) -> None:
    sign_in(address="192.0.2.77")

    assert "192.0.2.77" not in text_of(as_(viewer).get(reverse("account")))


def test_the_next_request_of_a_session_that_was_ended_is_nobodys(person: User) -> None:
    here, other = sign_in(), sign_in(PHONE)

    here.post(reverse("session-end", args=[row_of(other).pk]))

    assert (is_signed_in(here), is_signed_in(other)) == (True, False)
    assert AuditEntry.objects.filter(verb="ended a session", user=person).exists()


def test_all_others_are_ended_at_once(person: User) -> None:
    here, *others = (sign_in() for _ in range(4))

    page = here.post(reverse("sessions-end-others"), follow=True)

    assert "Sessions that have ended: 3." in text_of(page)
    assert is_signed_in(here) and not any(map(is_signed_in, others))


def test_nobody_ends_the_session_of_someone_else(person: User, viewer: User) -> None:
    hers = sign_in()

    answer = as_(viewer).post(reverse("session-end", args=[row_of(hers).pk]))

    assert answer.status_code == 404 and is_signed_in(hers)


def test_signing_out_takes_it_off_the_list(person: User) -> None:
    client = sign_in()

    client.post(reverse("sign-out"))

    assert not SignedInSession.objects.exists()
    assert [entry.verb for entry in AuditEntry.objects.order_by("pk")] == ["signed in", "signed out"]


def test_one_that_has_expired_is_not_listed_and_goes_when_django_cleans_up(person: User) -> None:
    sign_in()
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))

    listed = list(sessions.sessions_of(person))
    call_command("clearsessions")

    assert listed == [] and not SignedInSession.objects.exists()


def test_when_and_where_it_was_last_seen_is_noted_once_in_a_while(person: User, django_assert_num_queries: Any) -> None:
    client = sign_in()
    SignedInSession.objects.update(seen_at=timezone.now() - timedelta(hours=3))
    before = row_of(client)

    client.get(reverse("account"))
    soon = row_of(client)
    cache.clear()
    client.get(reverse("account"), REMOTE_ADDR="192.0.2.9")
    later = row_of(client)

    assert (soon.seen_at, soon.address) == (before.seen_at, "192.0.2.1")
    assert later.seen_at - before.seen_at > timedelta(hours=2) and later.address == "192.0.2.9"
    assert later.signed_in_at == before.signed_in_at


def test_a_session_from_before_sessions_were_noted_is_noted_when_it_is_seen(person: User) -> None:
    client = sign_in()
    began = row_of(client).signed_in_at
    SignedInSession.objects.all().delete()
    cache.clear()

    client.get(reverse("account"))

    assert row_of(client).user == person and row_of(client).signed_in_at == began


@pytest.mark.parametrize("cookie", ["x" * 300, "x" * 32, "ab cd\x7fef", "\u00e9" * 20, "of another"], ids=ascii)
def test_a_cookie_beside_a_token_is_no_session_of_the_tokens_owner(cookie: str, person: User, project: Project, viewer: User) -> None:
    other = sign_in()
    SignedInSession.objects.all().delete()
    cache.clear()
    client = Client(raise_request_exception=False, headers={"Authorization": f"Bearer {token_of(viewer, project, Scope.READ)}"})
    client.cookies["sessionid"] = other.cookies["sessionid"].value if cookie == "of another" else cookie

    answer = client.get(reverse("api:me"))

    assert (answer.status_code, answer.json()["username"]) == (200, "vera")
    assert not SignedInSession.objects.filter(user=viewer).exists()


def test_the_migration_notes_sessions_that_are_there_and_leaves_out_what_it_cannot_read(person: User) -> None:
    client = sign_in()
    SignedInSession.objects.all().delete()
    Session.objects.create(session_key="x" * 32, session_data="signed by another secret", expire_date=timezone.now() + timedelta(days=1))

    import_module("webapp.accounts.migrations.0004_audit_names_and_sessions_filled").note_sessions(apps, None)

    assert [row.session_id for row in SignedInSession.objects.all()] == [client.session.session_key]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (FIREFOX, "Firefox on Linux"),
        (PHONE, "Safari on iPhone"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36", "Chrome on Android"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 14_0) Chrome/140.0 Safari/537.36", "Chrome on macOS"),
        ("curl/8.0", "curl"),
        ("Something of one's own " * 5, "Something of one's own Something of one'"),
        ("", "unknown"),
    ],
)
def test_a_browser_is_called_by_what_people_call_it(words: str, name: str) -> None:
    assert sessions.browser_name(words) == name


def test_what_a_browser_calls_itself_is_cut_and_escaped(person: User) -> None:
    client = sign_in("<script>\x07é" + "x" * 500)

    row = row_of(client)

    assert row.browser.startswith("<script>xxx") and len(row.browser) == 200
    assert not re.search(r"<script>x", text_of(client.get(reverse("account"))))
