"""A site as in production, DEBUG off, with one person of each kind in it; and how many requests it gets: `--requests`."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import django
import pytest

# This file is read before pytest-django is ready where only this folder's tests are asked for. Doing it twice is harmless.
django.setup()

from tests import processes  # noqa: E402
from tests.fuzz.hostile import Request  # noqa: E402
from tests.processes import ROOT  # noqa: E402
from tests.waiting import wait_for  # noqa: E402
from webapp.gate.rates import Rate  # noqa: E402

USUAL = 400
"""Requests of each fuzzer in the whole suite; `python -m tests.fuzz 10000` sends as many as one has time for."""
PASSWORD = "a long enough password"
MOST_READ = 2**20
PATIENCE = 60
IDLE = 2.0
"""Seconds after which a new connection is made: the server ends an idle one, maybe in this moment."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--requests", type=int, default=USUAL, help="how many requests each fuzzer sends")
    parser.addoption("--first", type=int, default=0, help="the number of the first; a failure says its own")


@pytest.fixture
def requests(pytestconfig: pytest.Config) -> range:
    """The numbers of the requests. In a run of other folders too the options are not there, and the usual number is sent."""
    first = int(pytestconfig.getoption("first", 0))
    return range(first, first + int(pytestconfig.getoption("requests", USUAL)))


class Person:
    """Somebody at the other end of a connection: with a session, with a token, or as nobody."""

    def __init__(self, name: str, port: int, *, password: str = "", token: str = "") -> None:
        self.name, self.port, self.password, self.token = name, port, password, token
        self.cookies: dict[str, str] = {}
        self.connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.asked = 0.0

    def sign_in(self) -> None:
        self.cookies = {}
        self._exchange("GET", "/sign-in/", {}, b"")
        form = {"username": self.name, "password": self.password, "csrfmiddlewaretoken": self.cookies["csrftoken"]}
        status, _ = self._exchange("POST", "/sign-in/", {"Content-Type": b"application/x-www-form-urlencoded"}, urlencode(form).encode())
        assert status == 302, f"{self.name} could not sign in: {status}"

    def is_signed_in(self) -> bool:
        return self._exchange("GET", "/?all=1", {}, b"")[0] == 200

    def make_token(self, project: str, scope: str) -> str:
        body = f'{{"project": "{project}", "name": "fuzz", "scope": "{scope}"}}'.encode()
        status, answer = self._exchange("POST", "/api/v1/tokens/", {"Content-Type": b"application/json"}, body)
        assert status == 201, answer
        return answer.decode().partition('"token":"')[2].partition('"')[0]

    def send(self, request: Request) -> int:
        """The status of the answer, which is read, but for a stream, which does not end. Raises OSError or HTTPException when there was none."""
        return self._exchange(request.method, request.target, dict(request.headers), request.body, keep=False)[0]

    def _exchange(self, method: str, target: str, headers: dict[str, bytes], body: bytes, *, keep: bool = True) -> tuple[int, bytes]:
        mine: dict[str, bytes] = {"Content-Length": str(len(body)).encode()} if body or method not in {"GET", "HEAD", "TRACE"} else {}
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items()).encode()
        mine["Cookie"] = b"; ".join(part for part in (cookies, headers.get("Cookie", b"")) if part)
        if self.token:
            mine["Authorization"] = f"Bearer {self.token}".encode()
        if "csrftoken" in self.cookies:
            mine["X-CSRFToken"] = self.cookies["csrftoken"].encode()
        if time.monotonic() - self.asked > IDLE:
            self.connection.close()
        self.asked = time.monotonic()
        self.connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in {**mine, **{name: value for name, value in headers.items() if name != "Cookie"}}.items():
            self.connection.putheader(name, value)
        self.connection.endheaders(body or None)
        answer = self.connection.getresponse()
        if keep:
            received: SimpleCookie = SimpleCookie()
            for value in answer.headers.get_all("Set-Cookie") or []:
                received.load(value)
            self.cookies.update({name: morsel.value for name, morsel in received.items()})
        is_stream = answer.headers.get("Content-Type", "").startswith("text/event-stream")
        content = b"" if is_stream else answer.read(MOST_READ)
        if is_stream:
            answer.close()
        if is_stream or not answer.isclosed():
            self.connection.close()
        return answer.status, content


class Site:
    """A web process, and who sends requests to it."""

    def __init__(self, program: processes.Program, port: int) -> None:
        self.program, self.port = program, port
        self.people: dict[str, Person] = {"nobody": Person("nobody", port)}

    def add(self, name: str) -> Person:
        """Somebody of this name, who has a password, signed in."""
        person = self.people[name] = Person(name, self.port, password=PASSWORD)
        person.sign_in()
        return person

    def add_token(self, owner: Person, project: str, scope: str) -> None:
        name = f"{owner.name}'s token: {scope}"
        self.people[name] = Person(name, self.port, token=owner.make_token(project, scope))

    def mend(self) -> None:
        """Signs those in again whose sessions a request has ended."""
        for person in self.people.values():
            if person.password and not person.is_signed_in():
                person.sign_in()

    def status(self, request: Request) -> int:
        """Of the answer; 599 when the connection broke without one."""
        person = self.people[request.who]
        try:
            return person.send(request)
        except (OSError, HTTPException):
            person.connection.close()
            return 599


@pytest.fixture
def unthrottled(settings: Any) -> None:
    """So that requests are tried, and not refused for their number."""
    settings.RATES = {kind: Rate.parse(kind, "1000000/minute") for kind in settings.RATES}


@pytest.fixture
def site(process_environment: dict[str, str], tmp_path: Path) -> Iterator[Site]:
    environment = process_environment | {
        "STILLHOUSE_DEBUG": "0",
        "STILLHOUSE_TLS": "0",
        "STILLHOUSE_SECRET_KEY": "of the fuzzer's site alone " + os.urandom(16).hex(),
        **{f"STILLHOUSE_{kind}_RATE": "1000000/minute" for kind in ("LAUNCH", "TOKEN", "ANONYMOUS", "PERSON", "FILE")},
        "STILLHOUSE_STORE": str(tmp_path / "store"),
    }
    subprocess.run([sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"], cwd=ROOT, env=environment, check=True)
    port = processes.free_port()
    with processes.web(environment, port) as program:
        probe = HTTPConnection("127.0.0.1", port, timeout=5)

        def answers() -> bool:
            try:
                probe.request("GET", "/healthz")
                probe.getresponse().read()
            except OSError:
                probe.close()
                return False
            return True

        wait_for(lambda: answers() or not program.is_running(), seconds=60, what="the web server to answer")
        assert program.is_running(), program.output
        probe.close()
        site = Site(program, port)
        yield site
        for person in site.people.values():
            person.connection.close()
