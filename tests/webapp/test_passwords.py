"""A password in DATABASE_URL or REDIS_URL stays in them: nothing that a program says, and no page, has it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests import processes
from tests.processes import Program
from tests.waiting import wait_for

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

SECRET = "kettle-of-nine-swans"
ENOUGH = "1000000/10s"
ROOT = Path(__file__).resolve().parents[2]
NOWHERE = {"DATABASE_URL": f"postgresql://stillhouse:{SECRET}@127.0.0.1:1/nowhere", "REDIS_URL": f"redis://:{SECRET}@127.0.0.1:1/0"}
PATHS = (
    "/",
    "/sign-in/",
    "/sign-in",
    "/nowhere/",
    "/%ff",
    "//",
    "/admin/login/",
    "/api/v1/",
    "/api/v1/docs/",
    "/api/v1/methods/",
    "/api/v1/runs/x/",
)
PATHS += ("/healthz", "/metrics", "/static/none.css", "/p/none/runs/", "/?next=%00")
HEADERS = ({}, {"Host": "evil.example"}, {"Host": "a b"}, {"Authorization": "Bearer shp_unknown"}, {"Cookie": "sessionid=unknown"})


@pytest.fixture
def known(process_environment: dict[str, str]) -> dict[str, str]:
    """The session's servers, with a password in each address: PostgreSQL asks for none, and Valkey refuses one."""
    database, found = urlsplit(process_environment["DATABASE_URL"]), process_environment["REDIS_URL"]
    user = database.username or "stillhouse"
    return process_environment | {
        "DATABASE_URL": database._replace(netloc=f"{user}:{SECRET}@{database.hostname or ''}")
        .geturl()
        .replace("postgresql:/s", "postgresql:///s"),
        "REDIS_URL": found.replace("://", f"://:{SECRET}@", 1),
    }


@pytest.fixture
def start() -> Iterator[Callable[[Program], Program]]:
    programs: list[Program] = []

    def begin(program: Program) -> Program:
        programs.append(program)
        return program

    yield begin
    for program in programs:
        program.end()


def run(*arguments: str, environment: dict[str, str]) -> str:
    """All that a program says that ends by itself."""
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    return ended.stdout + ended.stderr


def answers(address: str) -> list[httpx.Response]:
    """What anybody gets at many addresses, by each method, with headers that are not as they should be."""
    with httpx.Client(base_url=address, timeout=30) as client:
        wait_for(lambda: reached(client), what="the web server")
        return [
            client.request(method, path, headers=headers)
            for path in PATHS
            for method in ("GET", "POST", "OPTIONS", "PUT", "NONE")
            for headers in HEADERS
        ]


def reached(client: httpx.Client) -> bool:
    try:
        return bool(client.get("/sign-in/"))
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(("servers", "development"), [("known", "on"), ("gone", "on"), ("gone", "")])
def test_no_page_for_anybody_has_it_or_is_djangos_debug_page(
    servers: str, development: str, known: dict[str, str], start: Callable[[Program], Program]
) -> None:
    port = processes.free_port()
    environment = (
        known
        | (NOWHERE if servers == "gone" else {})
        | {"STILLHOUSE_DEBUG": development, "STILLHOUSE_TLS": "off", "STILLHOUSE_ANONYMOUS_RATE": ENOUGH, "STILLHOUSE_FILE_RATE": ENOUGH}
    )
    web = start(processes.web(environment, port))

    found = answers(f"http://127.0.0.1:{port}")

    assert web.is_running(), web.output
    for answer in found:
        text = answer.text + str(answer.headers)
        assert SECRET not in text, answer.request
        assert "DEBUG = True" not in text and "Traceback" not in text and "Request Method" not in text, answer.request
    broken = sorted({f"{answer.request.method} {answer.request.url.path}" for answer in found if answer.status_code >= 500})
    assert bool(broken) is (servers == "gone"), broken
    web.end()
    assert SECRET not in web.output
    assert ("could not be served: " in web.output) is (servers == "gone")


@pytest.mark.parametrize("program", ["worker", "beat"])
@pytest.mark.parametrize("servers", ["known", "gone"])
def test_neither_a_workers_banner_nor_its_complaints_have_it(
    servers: str, program: str, known: dict[str, str], start: Callable[[Program], Program]
) -> None:
    environment = known | (NOWHERE if servers == "gone" else {})
    words = ["-m", "celery", "-A", "workers.app", program]

    started = start(Program(words, environment | {"STILLHOUSE_CPU_SLOTS": "1", "STILLHOUSE_LOG_LEVEL": "DEBUG"}))

    said = "Connection refused" if servers == "gone" else {"worker": "ready.", "beat": "Sending due task"}[program]
    wait_for(lambda: said in started.output or not started.is_running(), seconds=60, what=f"{said!r}")
    started.end()
    assert SECRET not in started.output
    assert said in started.output


@pytest.mark.parametrize(
    "words",
    [
        ("manage.py", "migrate"),
        ("manage.py", "sync_catalog"),
        ("-m", "webapp.servers", "start"),
        ("-m", "webapp.servers", "status"),
        ("-m", "celery", "-A", "workers.app", "report"),
        ("-m", "webapp.serve", "--port", "0"),
        ("-c", "from django.conf import settings; import psycopg; print(psycopg.connect(settings.DATABASE_URL, connect_timeout=3))"),
        ("-c", "from django.conf import settings; import redis; print(redis.Redis.from_url(settings.REDIS_URL).ping())"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("servers", ["known", "gone"])
def test_no_command_says_it(servers: str, words: tuple[str, ...], known: dict[str, str]) -> None:
    said = run(*words, environment=known | (NOWHERE if servers == "gone" else {}))

    assert said
    assert SECRET not in said


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
@pytest.mark.parametrize("end", ["/", "["])
def test_an_address_that_can_not_be_taken_apart_is_refused_without_a_piece_of_it(name: str, end: str, known: dict[str, str]) -> None:
    scheme = "postgresql" if name == "DATABASE_URL" else "redis"
    environment = known | {name: f"{scheme}://user:{SECRET}{end}{SECRET}@127.0.0.1:1/0"}

    said = [run(*words, environment=environment) for words in (("manage.py", "check"), ("-c", "import webapp.asgi"))]

    for text in said:
        assert f"{name} must look like {scheme}://user:password@host:port/n" in text
        assert "swans" not in text and "kettle" not in text


def test_the_servers_commands_show_an_address_without_it(known: dict[str, str]) -> None:
    said = run("-m", "webapp.servers", "start", environment=known)

    assert said.splitlines()[0].startswith("DATABASE_URL=postgresql://stillhouse:***@")
    assert said.splitlines()[1].startswith("REDIS_URL=unix://:***@/")
    assert os.environ["STILLHOUSE_HOME"] in said
