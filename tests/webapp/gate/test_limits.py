"""How many requests one caller may make, and who counts as one."""

import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client
from django.urls import reverse

from tests.webapp.conftest import signed_in, token_of, with_token
from tests.webapp.pages import as_
from webapp.accounts import tokens
from webapp.accounts.models import Project, User
from webapp.gate import limits
from webapp.gate.limits import IS_KNOWN, KNOWN, KnownCallers, RequestLimits, network_of
from webapp.gate.rates import Rate

A, B = "203.0.113.7", "203.0.113.8"


@pytest.fixture(autouse=True)
def _low_rates(settings: Any) -> None:
    settings.RATES = settings.RATES | {"address": Rate(20, 60), "person": Rate(30, 60), "files": Rate(40, 60)}


def asked(path: str = "/", address: str | None = A, *, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of one request at the door; 204 comes from the application behind it."""
    sent: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "method": method, "headers": pairs, "client": address and (address, 1)}
    async_to_sync(RequestLimits(application))(scope, None, send)  # type: ignore[arg-type]
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, sent[1]["body"].decode() if len(sent) > 1 else ""


def passed(times: int, *arguments: Any, **more: Any) -> int:
    """How many of so many requests got through."""
    return sum(asked(*arguments, **more)[0] == 204 for _ in range(times))


def test_an_address_gets_its_burst_and_then_a_sentence_with_the_time_to_wait() -> None:
    through = passed(25)
    status, headers, page = asked()

    assert (through, status) == (20, 429)
    assert 1 <= int(headers["retry-after"]) <= 3
    assert "Too many requests from your address; try again in 3 seconds." in page and "<html" in page
    assert headers["cache-control"] == "private, no-store" and headers["content-security-policy"].startswith("default-src 'self'")
    assert int(headers["content-length"]) == len(page.encode())


def test_the_api_says_it_as_json() -> None:
    passed(20)

    status, headers, body = asked("/api/v1/methods/")

    assert (status, headers["content-type"]) == (429, "application/json")
    assert json.loads(body) == {"detail": "Too many requests from your address; try again in 3 seconds."}


def test_addresses_do_not_use_up_each_others_share() -> None:
    passed(25, "/", A)

    assert passed(25, "/", B) == 20


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),  # one customer's /64
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("203.0.113.7", "203.0.113.8", False),
    ],
)
def test_an_ipv6_customer_counts_once(one: str, other: str, is_same: bool) -> None:
    passed(20, "/", one)

    assert (asked("/", other)[0] == 429) is is_same
    assert (network_of(one) == network_of(other)) is is_same


def test_callers_without_an_address_count_together() -> None:
    assert passed(25, "/", None) == 20
    assert network_of("garbage") == network_of("")


def test_files_and_health_are_counted_apart() -> None:
    passed(25)

    assert passed(50, "/static/stillhouse/theme.css") == 40
    assert asked("/healthz")[0] == asked("/readyz")[0] == 429
    assert passed(1, "/healthz", B) == 1


@pytest.mark.parametrize(
    ("method", "path", "cookie", "is_known"),
    [
        ("GET", "/", "sessionid=good", True),
        ("GET", "/static/stillhouse/theme.css", "sessionid=good", True),
        ("POST", "/p/distillery/launch/", "sessionid=good", True),
        ("GET", "/", "sessionid=made-up", False),
        ("GET", "/static/stillhouse/theme.css", "", False),
        ("POST", "/sign-in/", "sessionid=good", False),
    ],
)
def test_who_got_through_as_a_person_is_passed_on(method: str, path: str, cookie: str, is_known: bool) -> None:
    KNOWN.remember("good", "1")
    scope: dict[str, Any] = {"type": "http", "path": path, "method": method, "headers": [(b"cookie", cookie.encode())], "client": (A, 1)}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        pass

    async_to_sync(RequestLimits(application))(scope, None, None)  # type: ignore[arg-type]

    assert scope[IS_KNOWN] is is_known


def test_an_attempt_to_sign_in_counts_ten_times_with_any_cookie() -> None:
    KNOWN.remember("good", "1")

    posts = passed(3, reverse("sign-in"), method="POST", cookie="sessionid=good")

    assert posts == 2 and asked(reverse("admin:login"), method="POST")[0] == 429
    assert asked(reverse("sign-in"), B)[0] == 204


def test_a_made_up_cookie_or_token_buys_nothing() -> None:
    through = [asked("/", cookie=f"sessionid=made-up-{n}", authorization=f"Bearer shp_{n}")[0] for n in range(25)]

    assert through.count(204) == 20


def test_who_is_known_is_served_while_others_flood_from_the_same_address() -> None:
    KNOWN.remember("good", "1")
    passed(30)

    assert passed(40, cookie="csrftoken=x; sessionid=good") == 30
    assert "Too many requests from you; try again in 2 seconds." in asked(cookie="sessionid=good")[2]


def test_a_persons_sessions_and_tokens_count_together() -> None:
    KNOWN.remember("good", "1")
    KNOWN.remember("Bearer shp_x", "1")
    KNOWN.remember("other", "2")

    assert passed(20, cookie="sessionid=good") + passed(20, authorization="Bearer shp_x") == 30
    assert passed(5, cookie="sessionid=other") == 5


@pytest.mark.parametrize(
    "cookie", ["sessionid", "sessionid=", 'sessionid="', "=;=;sessionid", "sessionid=a\xe9", "a=b; " * 500 + "sessionid=x"]
)
def test_no_cookie_is_an_error(cookie: str) -> None:
    assert asked(cookie=cookie)[0] == 204


def test_what_is_remembered_of_callers_is_bounded() -> None:
    known = KnownCallers(most_kept=3)

    for number in range(5):
        known.remember("steady", "s")
        known.remember(f"cookie {number}", f"{number}")

    assert [known.find(f"cookie {number}") for number in range(5)] == [None, None, None, "3", "4"]
    assert known.find("steady") == "s"


@pytest.mark.servers
@pytest.mark.django_db
class TestLearning:
    """From the requests that Django serves."""

    def test_a_session_is_known_after_its_first_page(self, viewer: User) -> None:
        client = as_(viewer)

        client.get("/?all=1")

        assert KNOWN.find(client.cookies["sessionid"].value) == str(viewer.pk)

    def test_a_session_is_known_after_its_first_request_to_the_api(self, viewer: User) -> None:
        client = signed_in(viewer)

        client.get("/api/v1/me/")

        assert KNOWN.find(client.cookies["sessionid"].value) == str(viewer.pk)

    def test_a_person_who_has_just_signed_in_is_known(self, db: None) -> None:
        nora, client = User.objects.create_user("nora", password="a long enough password"), Client()

        client.post("/sign-in/", {"username": "nora", "password": "a long enough password"})

        assert KNOWN.find(client.cookies["sessionid"].value) == str(nora.pk)

    def test_a_token_is_known_until_it_is_revoked(self, viewer: User, project: Project) -> None:
        text = token_of(viewer, project)
        with_token(text).get("/api/v1/me/")
        before = KNOWN.find(f"Bearer {text}")

        tokens.revoke(viewer, tokens.find(text).pk)
        with_token(text).get("/api/v1/me/")

        assert (before, KNOWN.find(f"Bearer {text}")) == (str(viewer.pk), None)

    def test_a_session_that_has_ended_no_longer_counts_as_the_persons(self, viewer: User) -> None:
        client = as_(viewer)
        client.get("/?all=1")
        key = client.cookies["sessionid"].value

        client.session.flush()
        client.cookies["sessionid"] = key
        client.get("/?all=1")

        assert KNOWN.find(key) is None

    @pytest.mark.parametrize("address", ["/sign-in/", "/readyz", "/api/v1/schema/", "/api/v1/me/"])
    def test_a_stranger_is_not_learned_and_costs_no_statement(self, address: str, django_assert_num_queries: Any) -> None:
        limits.forget()

        with django_assert_num_queries(0):
            Client().get(address)

        assert len(KNOWN._people) == 0
