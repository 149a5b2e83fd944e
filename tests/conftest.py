"""The session of all tests: servers of its own, a home of its own, and nothing left behind.

A session works in a new STILLHOUSE_HOME under /tmp and starts the embedded servers there when the first test needs them, unless DATABASE_URL
and REDIS_URL name others. It ends red when a test left a process running, or was skipped: green means that everything ran.

Where several processes share the tests (`-n 2`), each has such a home with servers in it, and looks after what it started; the process that
hands out the tests has their reports, and says what ran.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import hypothesis
import psutil
import pytest
from pytest_django import DjangoDbBlocker

from tests.lanes import REDIS_URLS, Lanes, in_order

# Django reads its settings once, from the environment, so the home must stand before pytest-django sets Django up.
HOME = Path(tempfile.mkdtemp(prefix="stillhouse-test-", dir="/tmp"))  # a short path, for the sockets
HOME.chmod(0o711)  # started by root, PostgreSQL runs as another account, which must be able to walk through
os.environ["STILLHOUSE_HOME"] = str(HOME)
os.environ.pop("STILLHOUSE_STORE", None)
os.environ.pop("STILLHOUSE_BUFFERS", None)
os.environ["STILLHOUSE_DEBUG"] = "on"
os.environ["DJANGO_SETTINGS_MODULE"] = "webapp.settings"
os.environ.setdefault("OMP_NUM_THREADS", "1")
if REDIS_URLS in os.environ:
    os.environ["REDIS_URL"] = os.environ[REDIS_URLS].split()[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))]

# What an example takes says how busy the machine is. The same examples every time: a run that was green stays so, and a red one can be repeated.
hypothesis.settings.register_profile("stillhouse", deadline=None, derandomize=True)
hypothesis.settings.load_profile("stillhouse")

NEEDS = ("servers", "browser", "gpu")


def pytest_configure(config: pytest.Config) -> None:
    """Django reads its settings here, so that pytest-django sets it up before any test is collected."""
    from django.conf import settings

    assert settings.configured or settings.DATABASES
    if config.getoption("numprocesses", None):
        # The processes that run the tests inherit this environment, and pytest-django would set Django up there before they have a home.
        del os.environ["DJANGO_SETTINGS_MODULE"]
    config.pluginmanager.register(Account(config), "account")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes:
    return Lanes(config, log)


@pytest.fixture(scope="session")
def embedded_servers() -> Iterator[None]:
    """PostgreSQL and Redis answer."""
    from webapp import servers

    servers.ensure()
    yield
    servers.stop()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(embedded_servers: None, django_db_modify_db_settings_parallel_suffix: None) -> None:
    """pytest-django makes its test database after this, under a name of each process's own."""


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The session's test database. Threads in which a test's client ran an asynchronous view end only with this process, and keep their
    connections: without what is done here, the database could not be dropped."""
    yield
    from django.db import connection

    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture(autouse=True)
def _servers_where_asked_for(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("servers") or request.node.get_closest_marker("browser"):
        request.getfixturevalue("embedded_servers")


@pytest.fixture(scope="session")
def process_environment(django_db_setup: None) -> dict[str, str]:
    """The environment of a process that a test starts: the same servers, the session's test database, its home and store."""
    from django.conf import settings
    from django.db import connection

    database = connection.settings_dict
    parts = urlsplit(settings.DATABASE_URL)
    host = f"?{urlencode({'host': database['HOST']})}" if str(database["HOST"]).startswith("/") else ""
    url = f"postgresql://{parts.netloc}/{database['NAME']}{host}"
    return os.environ | {"DATABASE_URL": url, "REDIS_URL": settings.REDIS_URL, "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def flush_redis(embedded_servers: None) -> Callable[[], None]:
    """Makes Redis forget everything: FLUSHALL on the session's own server, FLUSHDB on one that others may share."""
    import redis
    from django.conf import settings

    def flush() -> None:
        with redis.Redis.from_url(settings.REDIS_URL) as client:
            if "REDIS_URL" in os.environ:
                client.flushdb()
            else:
                client.flushall()

    return flush


def _left_running() -> list[psutil.Process]:
    """Processes of this session: they were started with its home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("STILLHOUSE_HOME") == str(HOME):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    _, alive = psutil.wait_procs(found, timeout=5)
    return [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="session", autouse=True)
def _nothing_left_running() -> Iterator[None]:
    yield
    left = _left_running()
    names = [" ".join(process.cmdline()) for process in left]
    for process in left:
        process.kill()
    assert not left, "the tests left processes running:\n" + "\n".join(names)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests for a GPU run where there is one. The header and the summary say how many did not."""
    for item in items:
        item.user_properties.append(("needs", need_of(item)))
    if hasattr(config, "workerinput"):
        items[:] = in_order(items)
    if not any(item.get_closest_marker("gpu") for item in items):
        return
    import torch

    if not torch.cuda.is_available():
        away = [item for item in items if item.get_closest_marker("gpu")]
        items[:] = [item for item in items if item not in away]
        config.hook.pytest_deselected(items=away)
        config.pluginmanager.get_plugin("account").without_gpu = len(away)


def need_of(item: pytest.Item) -> str:
    marks = {mark.name for mark in item.iter_markers()}
    return "browser" if "browser" in marks else "gpu" if "gpu" in marks else "servers" if marks & {"servers", "django_db"} else "nothing"


class Account:
    """What the session did, in whichever process: how many tests ran, by what they need, and how many were left out."""

    def __init__(self, config: pytest.Config) -> None:
        self.ran = dict.fromkeys(("nothing", *NEEDS), 0)
        self.without_gpu = 0
        self._config = config

    def left_out(self) -> list[str]:
        return [f"Left out: {self.without_gpu} tests for a GPU; this machine has none that torch can use."] if self.without_gpu else []

    def pytest_report_collectionfinish(self) -> list[str]:
        return self.left_out()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "setup":
            self.ran[dict(report.user_properties)["needs"]] += 1

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if hasattr(self._config, "workerinput"):
            self._config.workeroutput["without_gpu"] = self.without_gpu
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and reporter.stats.get("skipped") and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A process that ran tests has ended. Each has collected the same."""
        self.without_gpu = max(self.without_gpu, getattr(node, "workeroutput", {}).get("without_gpu", 0))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line("")
        terminalreporter.write_line("Ran by what they need: " + ", ".join(f"{need} {count}" for need, count in self.ran.items()) + ".")
        for line in self.left_out():
            terminalreporter.write_line(line)
        if terminalreporter.stats.get("skipped"):
            terminalreporter.write_line("A skipped test makes the run red: nothing is left out in silence.", red=True)


def pytest_unconfigure() -> None:
    from webapp import servers

    servers.stop()  # a process that a test started may have started them in this home
    shutil.rmtree(HOME, ignore_errors=True)
