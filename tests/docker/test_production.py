"""The images' commands, run as they are, under the images' settings, on real servers."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from docker import health
from tests.docker.reading import ROOT, compose, image
from tests.waiting import wait_for

pytestmark = pytest.mark.servers

FILLED_IN = {"STILLHOUSE_SECRET_KEY": "x" * 50, "STILLHOUSE_DATABASE_PASSWORD": "unused", "STILLHOUSE_HOSTS": "stillhouse.example.com"}


@pytest.fixture(scope="module")
def database(process_environment: dict[str, str]) -> Iterator[str]:
    """The address of a new, empty database on the session's server."""
    server, name = process_environment["DATABASE_URL"], f"docker_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def production(process_environment: dict[str, str], database: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of the web's container, but for the servers' addresses and the folders; tables and catalog are prepared."""
    container = image("web").environment | compose("compose.yaml", variables=FILLED_IN)["services"]["web"]["environment"]
    home = tmp_path_factory.mktemp("home")
    ours = {
        "PATH": process_environment["PATH"],
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": database,
        "REDIS_URL": process_environment["REDIS_URL"],
        "STILLHOUSE_TRUSTED_PROXIES": "127.0.0.1",  # where these tests connect from, as the proxy does from the network's gateway
        "STILLHOUSE_HOME": str(home),
        "STILLHOUSE_STORE": str(home / "store"),
    }
    prepare(container | ours)
    return container | ours


def prepare(environment: dict[str, str]) -> list[str]:
    """What the service "prepare" does; returns what each of its commands prints."""
    _, _, line = compose("compose.yaml", variables=FILLED_IN)["services"]["prepare"]["command"]
    return [run(*command.split()[1:], environment=environment) for command in line.split("&&")]


@pytest.fixture(scope="module")
def url(production: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the web image's own command answers, after the build's own commands."""
    build = image("web").all("RUN")[-1]
    assert build == "STILLHOUSE_SECRET_KEY=for-this-command-only-and-kept-nowhere python manage.py collectstatic --no-input"
    secret, _, command = build.partition(" ")
    run(*command.split()[1:], environment=production | dict([secret.split("=")]))

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [word.replace("8000", str(port)) for word in image("web").command]
    log = tmp_path_factory.mktemp("log") / "web.log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, env=production, stdout=output, stderr=output)
    try:
        well = f"http://localhost:{port}/readyz"
        wait_for(lambda: process.poll() is not None or health.main("web", well) is None, what="the web image's command to answer")
        assert process.poll() is None, log.read_text()
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        process.wait(20)


def run(*words: str, environment: dict[str, str]) -> str:
    ended = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_web_is_healthy_by_its_own_check(url: str):
    assert health.main("web", f"{url}/readyz") is None


def test_a_page_behind_the_proxy_is_shown_with_hashed_styles_and_secure_headers(url: str):
    headers = {"Host": "stillhouse.example.com", "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}

    page = httpx.get(f"{url}/sign-in/", headers=headers, timeout=20)

    assert page.status_code == 200
    assert "max-age=31536000" in page.headers["strict-transport-security"]
    assert "Secure" in page.headers["set-cookie"]
    style = next(word.split('"')[0] for word in page.text.split('href="') if word.split('"')[0].endswith(".css"))
    assert httpx.get(f"{url}{style}", headers=headers).headers["cache-control"].endswith("immutable")


def test_a_page_without_tls_is_sent_to_https(url: str):
    page = httpx.get(f"{url}/sign-in/", headers={"Host": "stillhouse.example.com"}, timeout=20)

    assert (page.status_code, page.headers["location"]) == (301, "https://stillhouse.example.com/sign-in/")


def test_another_name_is_refused(url: str):
    page = httpx.get(f"{url}/sign-in/", headers={"Host": "evil.example.com", "X-Forwarded-Proto": "https"}, timeout=20)

    assert page.status_code == 400


def test_preparation_may_run_at_every_start(production: dict[str, str]):
    migrated, synced = prepare(production)

    assert "No migrations to apply." in migrated
    assert "methods and" in synced


@pytest.mark.parametrize("role", ["worker", "beat"])
def test_a_worker_and_beat_are_healthy_while_their_servers_answer(role: str, production: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", production["DATABASE_URL"])
    monkeypatch.setenv("REDIS_URL", production["REDIS_URL"])

    assert health.main(role) is None


@pytest.mark.parametrize(("role", "variable"), [("worker", "DATABASE_URL"), ("worker", "REDIS_URL"), ("beat", "REDIS_URL")])
def test_without_a_server_the_check_says_so_in_a_sentence(role, variable, production, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", production["DATABASE_URL"])
    monkeypatch.setenv("REDIS_URL", production["REDIS_URL"])
    monkeypatch.setenv(variable, {"DATABASE_URL": "postgresql://127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1/0"}[variable])

    said = health.main(role)

    assert said is not None
    assert said.startswith(f"{role} is not well: ")


def test_the_check_ends_with_one_and_its_sentence():
    ended = subprocess.run(
        [sys.executable, "docker/health.py", "web", "http://127.0.0.1:1/healthz"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith("web is not well: ")
