"""Open pages over a web server that is a process of its own."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Self

import httpx
import psutil
import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from tests import processes
from tests.waiting import wait_for
from webapp.accounts.models import User

Event = tuple[str, str, Any]


class OpenPage:
    """One stream of server-sent events, read by a thread until it ends or is closed. `events` are (event, id, data)."""

    def __init__(self, client: httpx.Client, path: str, headers: dict[str, str]) -> None:
        self.events: list[Event] = []
        self.ended = threading.Event()
        self._stack = ExitStack()
        self.answer = self._stack.enter_context(client.stream("GET", path, headers=headers))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def heard(self, event: str) -> list[Any]:
        """The data of all events of a kind so far."""
        return [data for name, _, data in list(self.events) if name == event]

    def wait_for(self, event: str, count: int = 1) -> list[Any]:
        wait_for(lambda: len(self.heard(event)) >= count, what=f"{count} × {event} among {[name for name, _, _ in self.events]}")
        return self.heard(event)

    def wait_for_its_end(self) -> None:
        wait_for(self.ended.is_set, what=f"the end of a stream that said {self.events}")

    def close(self) -> None:
        self._stack.close()

    def _read(self) -> None:
        event, mark = "", ""
        try:
            for line in self.answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    event, mark = value, ""
                elif name == "id":
                    mark = value
                elif name == "data":
                    self.events.append((event, mark, json.loads(value)))
        except (httpx.TransportError, httpx.StreamError, OSError):
            pass  # closed from this side
        self.ended.set()


class Web:
    """A web server, and the browsers of who visits it."""

    def __init__(self, environment: dict[str, str], name: str) -> None:
        self.name, port = name, processes.free_port()
        self.program = processes.web({**environment, "PGAPPNAME": name}, port)
        self.address = f"http://127.0.0.1:{port}"
        self._browsers = ExitStack()
        self._pages: list[OpenPage] = []

    def browser(self, user: User | None) -> httpx.Client:
        """Signed in, in a session of its own."""
        visitor = Client()
        if user is not None:
            visitor.force_login(user)
        cookies = {name: morsel.value for name, morsel in visitor.cookies.items()}
        limits = httpx.Limits(max_connections=None)
        return self._browsers.enter_context(httpx.Client(base_url=self.address, cookies=cookies, timeout=60, limits=limits))

    def open(self, browser: httpx.Client, path: str, **headers: str) -> OpenPage:
        page = OpenPage(browser, path, headers)
        self._pages.append(page)
        return page

    def connections(self) -> int:
        """How many the process has to the database."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [self.name])
            return int(cursor.fetchone()[0])

    def threads(self) -> int:
        return psutil.Process(self.program.pid).num_threads()

    def answers(self) -> bool:
        assert self.program.is_running(), self.program.output
        try:
            return httpx.get(f"{self.address}/sign-in/", timeout=60).status_code > 0
        except httpx.TransportError:
            return False

    def forget_visitors(self) -> None:
        """Closes every page and browser."""
        for page in self._pages:
            page.close()
        self._pages.clear()
        self._browsers.close()

    def __enter__(self) -> Self:
        wait_for(self.answers, seconds=60, what="the web server to answer")
        return self

    def __exit__(self, *_: object) -> None:
        self.forget_visitors()
        self.program.end()


StartWeb = Callable[..., Web]


@pytest.fixture(scope="package")
def web_process(process_environment: dict[str, str], embedded_servers: None) -> Iterator[Web]:
    """With its defaults."""
    with Web(process_environment, "web-of-tests") as web:
        yield web


@pytest.fixture(scope="package")
def small_web_process(process_environment: dict[str, str], embedded_servers: None) -> Iterator[Web]:
    """With little room."""
    little = {"REQUESTS_AT_ONCE": "2", "REQUESTS_WAITING": "3", "STREAMS": "4", "STREAMS_A_PERSON": "3"}
    environment = process_environment | {f"STILLHOUSE_{name}": value for name, value in little.items()}
    with Web(environment, "small-web-of-tests") as web:
        yield web


@pytest.fixture
def web(web_process: Web, transactional_db: None) -> Iterator[Web]:
    yield web_process
    web_process.forget_visitors()


@pytest.fixture
def small_web(small_web_process: Web, transactional_db: None) -> Iterator[Web]:
    yield small_web_process
    small_web_process.forget_visitors()


def session_key(browser: httpx.Client) -> str:
    return str(browser.cookies[settings.SESSION_COOKIE_NAME])


def session_of(user: User) -> str:
    """The key of a new session."""
    visitor = Client()
    visitor.force_login(user)
    return str(visitor.cookies[settings.SESSION_COOKIE_NAME].value)
