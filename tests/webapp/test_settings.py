"""What the site insists on before it starts, and what it sends with each page."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client

from tests.webapp.conftest import signed_in
from webapp.accounts.models import User
from webapp.asgi import BodyLimit

SETTINGS = "import webapp.settings as s; print({})"


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def test_it_does_not_start_with_debug_off_and_the_default_secret() -> None:
    started = python(SETTINGS.format("'on'"), STILLHOUSE_DEBUG="off")

    assert started.returncode != 0
    assert started.stderr.strip().endswith(
        "STILLHOUSE_DEBUG is off, so STILLHOUSE_SECRET_KEY must be set to a long random text of your own."
    )


def test_it_does_not_start_with_debug_off_and_a_short_secret() -> None:
    started = python(SETTINGS.format("'on'"), STILLHOUSE_DEBUG="off", STILLHOUSE_SECRET_KEY="short")

    assert started.returncode != 0
    assert started.stderr.strip().endswith("STILLHOUSE_SECRET_KEY must have at least 32 characters; got 5.")


def bare(home: Path, **environment: str) -> dict[str, str]:
    """The environment of somebody who has configured nothing."""
    return (
        {name: value for name, value in os.environ.items() if not name.startswith("STILLHOUSE_")}
        | {"STILLHOUSE_HOME": str(home)}
        | environment
    )


def told(code: str, environment: dict[str, str]) -> str:
    started = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert started.returncode == 0, started.stderr
    return started.stdout.strip()


def test_development_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    shown = SETTINGS.format("s.DEBUG, s.DEVELOPMENT, s.TLS, s.WHITENOISE_USE_FINDERS, s.WHITENOISE_AUTOREFRESH")

    assert told(shown, bare(tmp_path)) == "False False True False False"
    assert told(shown, bare(tmp_path, STILLHOUSE_DEBUG="on")) == "False True False True True"


@pytest.mark.parametrize(
    ("given", "then"),
    [
        ({}, "on"),
        ({"STILLHOUSE_HOSTS": "a.example"}, "on"),
        ({"STILLHOUSE_DEBUG": "off"}, "off"),
        ({"STILLHOUSE_SECRET_KEY": "k" * 50}, None),
        ({"STILLHOUSE_DEBUG": "", "STILLHOUSE_SECRET_KEY": ""}, "on"),
    ],
)
def test_a_developers_program_asks_for_development_where_nobody_has_configured_another(
    given: dict[str, str], then: str | None, tmp_path: Path
) -> None:
    code = "import os; from webapp import development as d; d.ask_unless_configured(); print(os.environ.get('STILLHOUSE_DEBUG'), d.is_on())"

    assert told(code, bare(tmp_path, **given)) == f"{then} {then == 'on'}"


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_home_gets_a_secret_of_its_own_once_which_only_its_owner_may_read(umask: int, tmp_path: Path) -> None:
    code = f"import os; os.umask({umask}); import webapp.settings as s; print(s.SECRET_KEY)"
    first, second = tmp_path / "a", tmp_path / "b"

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda home: told(code, bare(home)), [first, first, first, second]))

    assert len(set(found[:3])) == 1 and found[3] != found[0]
    assert min(map(len, found)) >= 50
    assert {path.name: path.stat().st_mode & 0o777 for path in first.iterdir()} == {"secret-key": 0o600}
    assert first.stat().st_mode & 0o066 == 0


def test_a_secret_that_somebody_names_is_taken_and_none_is_kept(tmp_path: Path) -> None:
    found = told(SETTINGS.format("s.SECRET_KEY"), bare(tmp_path / "home", STILLHOUSE_SECRET_KEY="k" * 50))

    assert found == "k" * 50
    assert not (tmp_path / "home").exists()


@pytest.mark.servers
@pytest.mark.django_db
@pytest.mark.parametrize("method", ["OPTIONS", "POST", "PUT", "TRACE"])
def test_the_page_of_the_api_is_only_read(client: Client, method: str) -> None:
    assert client.generic(method, "/api/v1/docs/").status_code == 405


def test_with_debug_off_nothing_travels_in_the_clear() -> None:
    names = ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_SSL_REDIRECT", "SECURE_HSTS_SECONDS")

    started = python(SETTINGS.format(f"[getattr(s, name) for name in {names}]"), STILLHOUSE_DEBUG="off", STILLHOUSE_SECRET_KEY="k" * 50)

    assert started.stdout.strip() == "[True, True, True, 31536000]"


def test_djangos_own_check_for_deployment_finds_nothing() -> None:
    code = (
        "import django, os; os.environ['DJANGO_SETTINGS_MODULE'] = 'webapp.settings'; django.setup();"
        "from django.core.management import call_command; call_command('check', deploy=True, fail_level='WARNING')"
    )

    checked = python(code, STILLHOUSE_DEBUG="off", STILLHOUSE_SECRET_KEY="a-secret-of-many-different-characters-0123456789-abcdefgh")

    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_web_application_starts_without_torch() -> None:
    code = "import sys, webapp.asgi, webapp.urls; print(sorted({'torch', 'sklearn', 'workers'} & {name.split('.')[0] for name in sys.modules}))"

    started = python(code)

    assert (started.returncode, started.stdout.strip()) == (0, "[]"), started.stderr


@pytest.mark.servers
@pytest.mark.django_db
def test_a_page_allows_scripts_from_here_only(viewer: User) -> None:
    policy = signed_in(viewer).get("/api/v1/docs/").headers["Content-Security-Policy"]

    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["script-src"] == "'self'"
    assert directives["style-src-attr"] == "'unsafe-inline'"  # only here: Swagger's page has styles of its own
    assert directives["default-src"] == "'self'"
    assert (directives["object-src"], directives["base-uri"], directives["frame-ancestors"]) == ("'none'", "'none'", "'none'")


@pytest.mark.servers
@pytest.mark.django_db
def test_five_wrong_passwords_lock_a_name_out_even_with_the_right_one(client: Client) -> None:
    User.objects.create_user("vera", password="the-right-password")

    codes = [client.post("/sign-in/", {"username": "vera", "password": f"wrong-{number}"}).status_code for number in range(5)]
    locked = client.post("/sign-in/", {"username": "vera", "password": "the-right-password"})

    assert codes == [200, 200, 200, 200, 429]
    assert (locked.status_code, "_auth_user_id" in client.session) == (429, False)


class TestBodyLimit:
    def answer(self, parts: list[bytes], headers: list[tuple[bytes, bytes]], limit: int = 10) -> tuple[int, bytes]:
        """Status and body for a request whose body comes in these parts; an application that echoes stands behind the limit."""

        async def echo(scope: Any, receive: Any, send: Any) -> None:
            body = b""
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body += message["body"]
                if not message["more_body"]:
                    break
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})

        incoming = [{"type": "http.request", "body": part, "more_body": index < len(parts) - 1} for index, part in enumerate(parts)]
        outgoing: list[Any] = []

        async def receive() -> Any:
            return incoming.pop(0)

        async def send(message: Any) -> None:
            outgoing.append(message)

        async_to_sync(BodyLimit(echo, limit))({"type": "http", "headers": headers}, receive, send)  # type: ignore[arg-type]
        return outgoing[0]["status"], outgoing[1]["body"]

    def test_a_body_within_the_limit_passes(self) -> None:
        assert self.answer([b"hello", b"world"], [(b"content-length", b"10")]) == (200, b"helloworld")

    def test_a_body_that_announces_too_much_is_refused(self) -> None:
        status, body = self.answer([b"hello world"], [(b"content-length", b"11")])

        assert (status, body) == (413, b'{"detail": "The body of a request may have at most 1,048,576 bytes."}')

    def test_a_body_that_announces_nothing_and_goes_on_is_cut_off(self) -> None:
        status, _ = self.answer([b"hello", b"world", b"!", b"..."], [])

        assert status == 413


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("STILLHOUSE_HASHING_QUEUE", "many", "STILLHOUSE_HASHING_QUEUE must be a whole number, at least 0; got 'many'."),
        ("STILLHOUSE_HASHING_MEGABYTES", "-1", "STILLHOUSE_HASHING_MEGABYTES must be a whole number, at least 0; got '-1'."),
        (
            "STILLHOUSE_PERSON_RATE",
            "lots",
            "STILLHOUSE_PERSON_RATE must be a number above 0 and a time, such as 600/minute, 100/10s or 30/hour; got 'lots'.",
        ),
    ],
)
def test_a_limit_that_is_none_is_refused_at_the_start_with_a_sentence(variable: str, value: str, sentence: str) -> None:
    started = python("import webapp.settings", **{variable: value})

    assert started.returncode != 0
    assert started.stderr.strip().endswith(sentence)


@pytest.mark.parametrize("text", ["0", "-3", "many", "1.5", "", "²"])
def test_a_bound_that_is_no_number_is_refused_with_a_sentence(text: str) -> None:
    started = python(SETTINGS.format("'on'"), STILLHOUSE_STREAMS=text, PYTHONIOENCODING="utf-8")

    assert started.returncode != 0
    assert started.stderr.strip().endswith(f"STILLHOUSE_STREAMS must be a whole number, at least 1; got {text!r}.")
