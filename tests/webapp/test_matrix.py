"""Who gets what from which address: every address that the site has, by every method, for everyone who may come.

An address that is added needs a line in tests/webapp/matrix.py for each method that it answers. The failure of the first test prints the
lines with what the site answers now: read them as a reviewer, and put them into the table.

nobody has not signed in; the stranger is an owner, but of another project; staff is an administrator who is no member. read, launch and admin
are the owner's tokens of these scopes. Pages take no token: whoever sends one is nobody there.
"""

import copy
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.contrib.auth.tokens import default_token_generator
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.http import urlsafe_base64_encode

from tests.runs import queued_run
from tests.webapp.conftest import token_of
from tests.webapp.matrix import API, PAGES, STREAMS, Line, lines_of
from tests.webapp.runs.live.conftest import Web
from webapp.accounts.models import ApiToken, Project, Scope, SignedInSession, User
from webapp.figures.plotly import VERSION
from webapp.gate.rates import Rate
from webapp.runs.models import Artifact

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

SAFE = ("GET", "HEAD", "OPTIONS")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SESSIONS = ("nobody", "stranger", "viewer", "operator", "reviewer", "owner", "staff")
TOKENS = ("read", "launch", "admin")

ADMIN = "admin/"
"""What the administrator's pages are, Django says; here they are all asked that nobody but staff gets anything."""
NOWHERE = "api/v1/"
"""Whatever begins so and leads nowhere is answered as JSON, to anybody and by any method (tests/webapp/api/test_schema.py)."""


def routes(resolver: Any = None, before: str = "") -> Iterator[str]:
    """Every address as a person would write it: `runs/<run_id>/stop/`."""
    for entry in (resolver or get_resolver()).url_patterns:
        here = before + re.sub(r"<\w+:(\w+)>", r"<\1>", str(entry.pattern))
        if isinstance(entry, URLResolver):
            yield from routes(entry, here)
        elif isinstance(entry, URLPattern):
            yield here


@pytest.fixture(autouse=True)
def _unthrottled(settings: Any) -> None:
    settings.RATES = {kind: Rate.parse(kind, "1000000/minute") for kind in settings.RATES}


@pytest.fixture
def people(project: Project, owner: User, reviewer: User, operator: User, viewer: User, stranger: User) -> dict[str, Client]:
    """A client for each identity."""
    staff = User.objects.create_superuser("ada")
    signed_in = {"stranger": stranger, "viewer": viewer, "operator": operator, "reviewer": reviewer, "owner": owner, "staff": staff}
    clients = {"nobody": Client(raise_request_exception=False)} | {name: Client(raise_request_exception=False) for name in signed_in}
    for name, user in signed_in.items():
        clients[name].force_login(user)
    for scope in Scope:
        clients[scope] = Client(raise_request_exception=False, headers={"Authorization": f"Bearer {token_of(owner, project, scope)}"})
    return clients


@pytest.fixture
def known(project: Project, owner: User, store: Any, people: dict[str, Client]) -> dict[str, str]:
    """What the parts of an address are filled with, all of one project; the session and the link for a new password are the owner's."""
    run = queued_run(project)
    folder = store / "runs" / str(run.pk)
    folder.mkdir(parents=True)
    (folder / "words.txt").write_text("words")
    artifact = Artifact.objects.create(
        run=run, attempt=1, name="words", kind="other", path=f"runs/{run.pk}/words.txt", bytes=5, sha256="0" * 64
    )
    elsewhere = Client()
    elsewhere.force_login(owner)
    return {
        "slug": project.slug,
        "run_id": str(run.pk),
        "other_id": str(queued_run(project).pk),
        "artifact_id": str(artifact.pk),
        "method_id": "supervised",
        "token_id": str(ApiToken.objects.get(scope=Scope.READ).pk),
        "username": "vera",
        "session_id": str(SignedInSession.objects.get(session=elsewhere.session.session_key).pk),
        "uidb64": urlsafe_base64_encode(str(owner.pk).encode()),
        "token": default_token_generator.make_token(owner),
        "plotly_version": VERSION,
    }


def filled(route: str, known: dict[str, str]) -> str:
    return re.sub(r"<(\w+)>", lambda part: known[part[1]], route.removeprefix("/"))


def status(client: Client, method: str, route: str, known: dict[str, str]) -> int:
    """Of the answer; what the request has changed is undone, so that the next one finds all as it was."""
    address = "/" + filled(route, known)
    cookies = copy.deepcopy(client.cookies)
    with transaction.atomic():
        answer = client.generic(method, address, b"", content_type="application/json" if address.startswith("/api/") else FORM)
        transaction.set_rollback(True)
    client.cookies = cookies
    return int(answer.status_code)


FORM = "application/x-www-form-urlencoded"


LINES = [line for text in (PAGES, API, STREAMS) for line in lines_of(text)]
LISTED = {(line.method, line.path) for line in LINES}
OURS = sorted({route for route in routes() if not route.startswith(ADMIN)} - {NOWHERE})


def test_every_address_has_its_lines(people: dict[str, Client], known: dict[str, str]) -> None:
    missing = [
        Line(method, route, tuple(status(client, method, route, known) for client in people.values()), tuple(people)).as_text()
        for route in sorted(set(OURS) - {line.path for line in LINES})
        for method in METHODS
    ]

    assert not missing, (
        "These addresses have no line in tests/webapp/matrix.py. Add one for each method that it answers (what is refused to all with 405 "
        f"needs none), after looking whether each of {', '.join(people)} may have that:\n" + "\n".join(missing)
    )


def test_every_line_has_an_address_and_stands_once() -> None:
    named = [(line.method, line.path) for line in LINES]

    gone = {path for _, path in named} - set(OURS)
    twice = {each for each in named if named.count(each) > 1}

    assert not gone, f"These addresses are gone; take their lines out of tests/webapp/matrix.py: {', '.join(sorted(gone))}"
    assert not twice


Answers = dict[str, dict[str, int]]
"""By line and by who asked. All lines are asked in one test: to make the people and what they come for takes longer than to ask."""


def as_said(lines: list[Line], who: tuple[str, ...] | None = None) -> Answers:
    return {
        str(line): {name: said for name, said in zip(line.who, line.expected, strict=True) if who is None or name in who} for line in lines
    }


def test_each_gets_what_the_table_says(people: dict[str, Client], known: dict[str, str]) -> None:
    lines = [*lines_of(PAGES), *lines_of(API)]

    answered = {str(line): {who: status(people[who], line.method, line.route, known) for who in line.who} for line in lines}

    assert answered == as_said(lines)


def test_a_page_takes_no_token(people: dict[str, Client], known: dict[str, str]) -> None:
    lines = lines_of(PAGES)

    answered = {str(line): {status(people[who], line.method, line.route, known) for who in TOKENS} for line in lines}

    assert answered == {str(line): {line.expected[line.who.index("nobody")]} for line in lines}


def test_any_other_method_is_refused_to_everybody(people: dict[str, Client], known: dict[str, str]) -> None:
    """In the API HEAD is what GET is without its content, OPTIONS tells whoever has signed in what there is, and nobody is asked to sign in first."""
    of_api = {line.path for line in lines_of(API)}
    left = [
        (method, route)
        for route in OURS
        for method in METHODS
        if (method, route) not in LISTED and not (route in of_api and method == "HEAD" and ("GET", route) in LISTED)
    ]
    who = ("nobody", "viewer", "admin")

    answered = {(method, route): tuple(status(people[name], method, route, known) for name in who) for method, route in left}

    allowed = {(method, route): 200 if method == "OPTIONS" and route in of_api else 405 for method, route in left}
    assert answered == {(method, route): (401 if route in of_api else said, said, said) for (method, route), said in allowed.items()}


def test_head_tells_nobody_more_than_get(people: dict[str, Client], known: dict[str, str]) -> None:
    lines, who = [line for line in lines_of(API) if line.method == "GET"], ("nobody", "stranger", "viewer", "staff", "read")

    answered = {str(line): {name: status(people[name], "HEAD", line.route, known) for name in line.who if name in who} for line in lines}

    assert answered == as_said(lines, who)


def test_nothing_is_changed_by_a_session_without_the_forms_secret(owner: User, people: dict[str, Client], known: dict[str, str]) -> None:
    lines = [line for line in [*lines_of(PAGES), *lines_of(API)] if line.method not in SAFE and (line.method, line.path) not in REFUSED]
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(owner)

    answered = {str(line): status(browser, line.method, line.route, known) for line in lines}

    assert answered == {str(line): 403 for line in lines}


REFUSED = {("PATCH", "sign-in/"), ("DELETE", "sign-in/")}
"""Listed since whoever has signed in is led away from that page first; the page knows no such methods."""


@pytest.fixture
def web(process_environment: dict[str, str]) -> Iterator[Web]:
    with Web(process_environment, "web-of-the-matrix") as web:
        yield web


def stream_status(web: Web, client: Client, address: str) -> int:
    cookies = {name: morsel.value for name, morsel in client.cookies.items()}
    with httpx.stream("GET", f"{web.address}/{address}", cookies=cookies, timeout=60) as answer:
        return answer.status_code


@pytest.mark.django_db(transaction=True)
def test_a_stream_is_for_those_who_see_what_it_tells_of(people: dict[str, Client], known: dict[str, str], web: Web) -> None:
    """It goes on when its request has ended, so a web server is asked."""
    lines = lines_of(STREAMS)

    answered = {str(line): {who: stream_status(web, people[who], filled(line.route, known)) for who in line.who} for line in lines}

    assert {line.method for line in lines} == {"GET"}
    assert answered == as_said(lines)


def test_the_administrators_pages_are_for_staff_alone(people: dict[str, Client], known: dict[str, str]) -> None:
    parts = known | dict.fromkeys(("object_id", "content_type_id", "id"), "1") | {"app_label": "accounts", "url": "x"}
    pages = [route.replace("path:", "") for route in routes() if route.startswith(ADMIN) and not re.search(r"login|\(\?P", route)]
    strangers = [who for who in (*SESSIONS, *TOKENS) if who != "staff"]

    answered = {(who, page): status(people[who], method, page, parts) for page in pages for who in strangers for method in ("GET", "POST")}
    of_staff = {status(people["staff"], "GET", page, parts) for page in pages}

    assert len(pages) > 40
    assert {key for key, said in answered.items() if said != 302} == set()  # to the page where administrators sign in
    assert 200 in of_staff and max(of_staff) < 500
