"""Who gets what from which address: every address that the site has, by every method, for everyone who may come.

An address that is added needs a line here for each method that it answers. The failure of the first test prints the lines with what the site
answers now: read them as a reviewer, and put them into the table.

nobody has not signed in; the stranger is an owner, but of another project; staff is an administrator who is no member. read, launch and admin
are the owner's tokens of these scopes. Pages take no token: whoever sends one is nobody there.
"""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
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

PAGES = """
                                                      nobody   stranger viewer   operator reviewer owner    staff
GET     /                                             302      302      302      302      302      302      200
GET     account/                                      302      200      200      200      200      200      200
GET     account/password/                             302      302      302      302      302      302      302
POST    account/password/                             302      302      302      302      302      302      302
POST    account/provider/                             302      404      404      404      404      404      404
POST    account/provider/remove/                      302      404      404      404      404      404      404
GET     account/second-factor/                        302      200      200      200      200      200      200
POST    account/second-factor/                        302      400      400      400      400      400      400
POST    account/second-factor/codes/                  302      302      302      302      302      302      302
POST    account/second-factor/off/                    302      302      302      302      302      302      302
POST    account/sessions/<session_id>/end/            302      404      404      404      404      302      404
POST    account/sessions/end-others/                  302      302      302      302      302      302      302
GET     api/v1/docs/                                  200      200      200      200      200      200      200
HEAD    api/v1/docs/                                  200      200      200      200      200      200      200
GET     api/v1/schema/                                200      200      200      200      200      200      200
HEAD    api/v1/schema/                                200      200      200      200      200      200      200
OPTIONS api/v1/schema/                                200      200      200      200      200      200      200
GET     artifacts/<artifact_id>/                      302      404      200      200      200      200      404
GET     audit/                                        302      403      403      403      403      403      200
GET     audit/export/                                 302      403      403      403      403      403      200
GET     healthz                                       200      200      200      200      200      200      200
HEAD    healthz                                       200      200      200      200      200      200      200
GET     metrics                                       200      200      200      200      200      200      200
HEAD    metrics                                       200      200      200      200      200      200      200
GET     p/<slug>/                                     302      404      200      200      200      200      404
GET     p/<slug>/audit/                               302      404      403      403      403      200      404
GET     p/<slug>/audit/export/                        302      404      403      403      403      200      404
GET     p/<slug>/compare/?runs=<run_id>,<other_id>  302      404      200      200      200      200      404
GET     p/<slug>/compare/curves/?runs=<run_id>,<other_id>  302      404      200      200      200      200      404
POST    p/<slug>/delete/                              302      404      403      403      403      302      404
GET     p/<slug>/launch/                              302      404      403      200      200      200      404
POST    p/<slug>/launch/                              302      404      403      400      400      400      404
POST    p/<slug>/launch/budget/                       302      404      403      200      200      200      404
POST    p/<slug>/launch/fields/                       302      404      403      200      200      200      404
GET     p/<slug>/members/                             302      404      200      200      200      200      404
POST    p/<slug>/members/put/                         302      404      403      403      403      302      404
POST    p/<slug>/members/remove/                      302      404      403      403      403      302      404
GET     p/<slug>/methods/                             302      404      200      200      200      200      404
GET     p/<slug>/methods/<method_id>/                 302      404      200      200      200      200      404
GET     p/<slug>/models/                              302      404      200      200      200      200      404
POST    p/<slug>/restore/                             302      404      404      404      404      404      404
GET     p/<slug>/settings/                            302      404      200      200      200      200      404
POST    p/<slug>/settings/                            302      404      403      403      403      302      404
GET     p/<slug>/tokens/                              302      404      200      200      200      200      404
POST    p/<slug>/tokens/                              302      404      200      200      200      200      404
POST    p/<slug>/tokens/<token_id>/revoke/            302      404      404      404      404      302      404
GET     p/<slug>/trash/                               302      404      200      200      200      200      404
GET     password/                                     200      200      200      200      200      200      200
HEAD    password/                                     200      200      200      200      200      200      200
POST    password/                                     200      200      200      200      200      200      200
PUT     password/                                     200      200      200      200      200      200      200
OPTIONS password/                                     200      200      200      200      200      200      200
GET     password/<uidb64>/<token>/                    302      302      302      302      302      302      302
HEAD    password/<uidb64>/<token>/                    302      302      302      302      302      302      302
POST    password/<uidb64>/<token>/                    302      302      302      302      302      302      302
PUT     password/<uidb64>/<token>/                    302      302      302      302      302      302      302
PATCH   password/<uidb64>/<token>/                    302      302      302      302      302      302      302
DELETE  password/<uidb64>/<token>/                    302      302      302      302      302      302      302
OPTIONS password/<uidb64>/<token>/                    302      302      302      302      302      302      302
GET     password/sent/                                200      200      200      200      200      200      200
GET     readyz                                        200      200      200      200      200      200      200
HEAD    readyz                                        200      200      200      200      200      200      200
GET     runs/<run_id>/                                302      404      200      200      200      200      404
POST    runs/<run_id>/clone/                          302      404      403      302      302      302      404
POST    runs/<run_id>/continue/                       302      404      403      302      302      302      404
GET     runs/<run_id>/curves/                         302      404      200      200      200      200      404
POST    runs/<run_id>/delete/                         302      404      403      302      302      302      404
POST    runs/<run_id>/edit/                           302      404      403      302      302      302      404
POST    runs/<run_id>/restore/                        302      404      403      302      302      302      404
POST    runs/<run_id>/resume/                         302      404      403      302      302      302      404
POST    runs/<run_id>/retry/                          302      404      403      302      302      302      404
GET     runs/<run_id>/status/                         302      404      200      200      200      200      404
POST    runs/<run_id>/stop/                           302      404      403      302      302      302      404
GET     sign-in/                                      200      302      302      302      302      302      302
HEAD    sign-in/                                      200      302      302      302      302      302      302
POST    sign-in/                                      200      302      302      302      302      302      302
PUT     sign-in/                                      200      302      302      302      302      302      302
PATCH   sign-in/                                      405      302      302      302      302      302      302
DELETE  sign-in/                                      405      302      302      302      302      302      302
OPTIONS sign-in/                                      200      302      302      302      302      302      302
GET     sign-in/code/                                 302      302      302      302      302      302      302
POST    sign-in/code/                                 302      302      302      302      302      302      302
GET     sign-in/provider/                             404      404      404      404      404      404      404
GET     sign-in/provider/back/                        404      404      404      404      404      404      404
POST    sign-out/                                     302      302      302      302      302      302      302
OPTIONS sign-out/                                     200      200      200      200      200      200      200
GET     vendor/plotly-<plotly_version>.min.js         200      200      200      200      200      200      200
"""
API = """
                                                      nobody   stranger viewer   operator reviewer owner    staff    read     launch   admin
GET     api/v1/artifacts/<artifact_id>/download/      401      404      200      200      200      200      404      200      200      200
GET     api/v1/audit/                                 401      403      403      403      403      403      200      403      403      403
GET     api/v1/audit/export/                          401      403      403      403      403      403      200      403      403      403
GET     api/v1/compare/?runs=<run_id>,<other_id>  401      404      200      200      200      200      404      200      200      200
GET     api/v1/compare/curves/?runs=<run_id>,<other_id>  401      404      200      200      200      200      404      200      200      200
GET     api/v1/me/                                    401      200      200      200      200      200      200      200      200      200
GET     api/v1/methods/                               401      200      200      200      200      200      200      200      200      200
GET     api/v1/methods/<method_id>/                   401      200      200      200      200      200      200      200      200      200
GET     api/v1/models/?project=<slug>                 401      404      200      200      200      200      404      200      200      200
GET     api/v1/projects/                              401      200      200      200      200      200      200      200      200      200
GET     api/v1/projects/<slug>/                       401      404      200      200      200      200      404      200      200      200
PATCH   api/v1/projects/<slug>/                       401      404      403      403      403      400      404      403      403      400
GET     api/v1/projects/<slug>/audit/                 401      404      403      403      403      200      404      403      403      200
GET     api/v1/projects/<slug>/audit/export/          401      404      403      403      403      200      404      403      403      200
POST    api/v1/projects/<slug>/delete/                401      404      403      403      403      400      404      403      403      400
GET     api/v1/projects/<slug>/members/               401      404      200      200      200      200      404      200      200      200
PUT     api/v1/projects/<slug>/members/<username>/    401      404      403      403      403      400      404      403      403      400
DELETE  api/v1/projects/<slug>/members/<username>/    401      404      403      403      403      204      404      403      403      204
POST    api/v1/projects/<slug>/restore/               401      404      404      404      404      404      404      403      403      403
GET     api/v1/projects/<slug>/runs/                  401      404      200      200      200      200      404      200      200      200
POST    api/v1/projects/<slug>/runs/                  401      404      403      400      400      400      404      403      400      400
GET     api/v1/runs/<run_id>/                         401      404      200      200      200      200      404      200      200      200
PATCH   api/v1/runs/<run_id>/                         401      404      403      200      200      200      404      403      200      200
DELETE  api/v1/runs/<run_id>/                         401      404      403      200      200      200      404      403      200      200
GET     api/v1/runs/<run_id>/artifacts/               401      404      200      200      200      200      404      200      200      200
GET     api/v1/runs/<run_id>/attempts/                401      404      200      200      200      200      404      200      200      200
POST    api/v1/runs/<run_id>/clone/                   401      404      403      201      201      201      404      403      201      201
POST    api/v1/runs/<run_id>/continue/                401      404      403      400      400      400      404      403      400      400
GET     api/v1/runs/<run_id>/evaluations/             401      404      200      200      200      200      404      200      200      200
GET     api/v1/runs/<run_id>/history/                 401      404      200      200      200      200      404      200      200      200
GET     api/v1/runs/<run_id>/logs/                    401      404      200      200      200      200      404      200      200      200
GET     api/v1/runs/<run_id>/metrics/                 401      404      200      200      200      200      404      200      200      200
POST    api/v1/runs/<run_id>/restore/                 401      404      403      409      409      409      404      403      409      409
POST    api/v1/runs/<run_id>/resume/                  401      404      403      409      409      409      404      403      409      409
POST    api/v1/runs/<run_id>/retry/                   401      404      403      409      409      409      404      403      409      409
POST    api/v1/runs/<run_id>/stop/                    401      404      403      200      200      200      404      403      200      200
GET     api/v1/tasks/                                 401      200      200      200      200      200      200      200      200      200
GET     api/v1/tokens/                                401      200      200      200      200      200      200      200      200      200
POST    api/v1/tokens/                                401      400      400      400      400      400      400      400      400      400
DELETE  api/v1/tokens/<token_id>/                     401      404      404      404      404      200      404      200      403      200
"""
STREAMS = """
                                                      nobody   stranger viewer   operator reviewer owner    staff
GET     p/<slug>/events?runs=<run_id>                 401      404      200      200      200      200      404
GET     runs/<run_id>/events                          401      404      200      200      200      200      404
"""
ADMIN = "admin/"
"""What the administrator's pages are, Django says; here they are all asked that nobody but staff gets anything."""
NOWHERE = "api/v1/"
"""Whatever begins so and leads nowhere is answered as JSON, to anybody and by any method (tests/webapp/api/test_schema.py)."""


@dataclass(frozen=True)
class Line:
    method: str
    route: str
    expected: tuple[int, ...]
    who: tuple[str, ...]

    @property
    def path(self) -> str:
        """The address without its query, as the resolver has it: of the first page it is empty."""
        return self.route.partition("?")[0].removeprefix("/")

    def __str__(self) -> str:
        return f"{self.method} {self.route}"

    def as_text(self) -> str:
        return f"{self.method:7} {self.route}  " + " ".join(map(str, self.expected))


def lines_of(table: str) -> list[Line]:
    head, *lines = (line.split() for line in table.strip().splitlines())
    return [Line(method, route, tuple(map(int, statuses)), tuple(head)) for method, route, *statuses in lines]


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
        "These addresses have no line in tests/webapp/test_matrix.py. Add one for each method that it answers (what is refused to all with 405 "
        f"needs none), after looking whether each of {', '.join(people)} may have that:\n" + "\n".join(missing)
    )


def test_every_line_has_an_address_and_stands_once() -> None:
    named = [(line.method, line.path) for line in LINES]

    gone = {path for _, path in named} - set(OURS)
    twice = {each for each in named if named.count(each) > 1}

    assert not gone, f"These addresses are gone; take their lines out of tests/webapp/test_matrix.py: {', '.join(sorted(gone))}"
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
