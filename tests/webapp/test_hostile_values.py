"""Values that were an error of the server, wherever they can be typed: by page and API an answer that says what would be right."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.runs import queued_run
from tests.webapp.conftest import signed_in
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import Project, User
from webapp.runs.models import Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

GROWS = "\ufdfa" * 150
"""One letter of Arabic that becomes eighteen when it is normalized: 150 are allowed in a name, 2,700 are not."""
LONG_NAMES = [GROWS, "\ufdfa" * 15, "x" * 256, "x" * 5000, "é" * 300, "a\0" + "b" * 300]


@pytest.mark.parametrize("name", LONG_NAMES, ids=ascii)
def test_nobody_signs_in_under_a_name_that_is_too_long_and_nothing_breaks(name: str, db: None) -> None:
    answer = Client().post(reverse("sign-in"), {"username": name, "password": "x"})

    assert answer.status_code == 200
    assert "correct" in text_of(answer) or "Null characters are not allowed" in text_of(answer)


@pytest.mark.parametrize("name", [GROWS, "x" * 151, "\ufdfa" * 15], ids=ascii)
def test_an_administrator_makes_no_person_of_a_name_that_is_too_long(name: str, db: None) -> None:
    browser = as_(User.objects.create_superuser("ada"))
    passwords = {"password1": "long enough 7", "password2": "long enough 7", "usable_password": "true"}

    answer = browser.post(reverse("admin:accounts_user_add"), {"username": name, **passwords})

    assert answer.status_code == 200 and "at most 150 characters" in text_of(answer)
    assert User.objects.count() == 1


@pytest.mark.parametrize("name", LONG_NAMES, ids=ascii)
def test_no_member_has_a_name_that_is_too_long(name: str, project: Project, owner: User) -> None:
    for view in ("member-put", "member-remove"):
        answer = as_(owner).post(reverse(view, args=[project.slug]), {"username": name, "role": "viewer"})

        assert answer.status_code == 302
    assert project.memberships.count() == 1


@pytest.mark.parametrize("field", ["created_after", "created_before"])
@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+23:59", "0001-01-01T23:58:59+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_moment_beyond_the_calendars_ends_is_refused_in_a_sentence(moment: str, field: str, project: Project, viewer: User) -> None:
    sentence = f"must be in the years 1 to 9999 of universal time; got '{moment}'."

    by_api = signed_in(viewer).get(reverse("api:runs", args=[project.slug]), {field: moment})
    by_page = as_(viewer).get(reverse("runs", args=[project.slug]), {field: moment})

    assert (by_api.status_code, by_api.json()) == (400, {"errors": [{"field": field, "message": sentence}]})
    assert by_page.status_code == 200 and sentence.replace("'", "&#x27;") in text_of(by_page)


@pytest.mark.parametrize(
    ("moment", "found"),
    [
        ("0001-01-01T00:00:00", 1),
        ("0001-01-01T23:59:00+23:59", 1),
        ("2020-01-01T00:00:00-23:59", 1),
        ("9999-12-31T23:59:59.999999", 0),
        ("9999-12-31T23:59:59+23:59", 0),
    ],
)
def test_a_moment_of_any_zone_is_understood(moment: str, found: int, project: Project, viewer: User) -> None:
    queued_run(project)

    answer = signed_in(viewer).get(reverse("api:runs", args=[project.slug]), {"created_after": moment})

    assert (answer.status_code, answer.json()["count"]) == (200, found)


@pytest.mark.parametrize("text", ["--5", "5-", "1e2", "٣", "1" + "0" * 400])
def test_a_priority_that_is_no_number_is_refused_in_a_sentence(text: str, project: Project, operator: User) -> None:
    run = queued_run(project, name="before")

    answer = as_(operator).post(reverse("run-edit", args=[run.pk]), {"name": "after", "priority": text}, follow=True)

    assert "priority: must be a whole number from -100 to 100; got" in text_of(answer)
    assert Run.objects.get().name == "before"


HEADERS: list[dict[str, Any]] = [
    {"X-Forwarded-For": address} for address in ("garbage", "1.2.3.4, garbage", "::1%eth0", ",", "[::1]:80", "1" * 5000)
]


@pytest.mark.parametrize("headers", HEADERS, ids=str)
def test_an_address_that_a_client_made_up_is_no_error(headers: dict[str, str], db: None) -> None:
    answer = Client().post(reverse("sign-in"), {"username": "x", "password": "x"}, headers=headers)

    assert answer.status_code == 200


@pytest.mark.parametrize("accepted", ["text/plain", "a/b;c=" + "d" * 900, "garbage", "application/json"])
def test_the_page_of_the_api_comes_whatever_is_accepted(accepted: str, db: None) -> None:
    answer = Client().get(reverse("api:docs"), headers={"Accept": accepted})

    assert answer.status_code == 200 and "swagger" in text_of(answer)


UNREADABLE = [
    ("multipart/form-data", b"a=b"),
    ("multipart/form-data; boundary=" + "b" * 300, b"a=b"),
    ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n\r\n' * 101 + b"--x--"),
    ("application/x-www-form-urlencoded; charset=utf-16", b"a=b"),
    ("application/x-www-form-urlencoded", b"a=b&" * 2001),
]


@pytest.mark.parametrize(
    ("content_type", "body"), UNREADABLE, ids=["no boundary", "a long boundary", "101 files", "utf-16", "2,001 fields"]
)
@pytest.mark.parametrize(
    "address", ["/no/such/page/", "/p/distillery/launch", "/p/distillery/launch/", "/sign-in/", "/api/v1/tokens/", "/api/no"]
)
def test_a_body_that_can_not_be_read_is_no_error_of_the_server(
    address: str, content_type: str, body: bytes, project: Project, viewer: User
) -> None:
    browser = Client(enforce_csrf_checks=True, raise_request_exception=False)
    browser.force_login(viewer)
    browser.get(reverse("tokens", args=[project.slug]))  # from here on it has the form's secret, and bodies are looked into for it

    answer = browser.generic("POST", address, body, content_type, headers={"X-CSRFToken": browser.cookies["csrftoken"].value})

    assert answer.status_code in (301, 400, 404, 415)


@pytest.mark.parametrize("host", ["evil.example", "localhost"])
def test_a_page_that_says_what_is_wrong_needs_no_body(host: str, project: Project, viewer: User) -> None:
    browser = Client(enforce_csrf_checks=True, raise_request_exception=False)
    browser.cookies["csrftoken"] = "x" * 32

    answer = browser.generic("POST", "/no/such/page/", b"a=b", "multipart/form-data", headers={"Host": host})

    assert answer.status_code == (404 if host == "localhost" else 400)
