"""What is not well is named with what to do about it, and decides the exit code."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from django.db import connection
from django.utils import timezone

from tests.installations import Installation
from tests.runs import queued_run
from tests.webapp.conftest import RunMaker
from webapp.accounts.models import Project
from webapp.catalog.models import Method
from webapp.operate.doctor import machine, servers, work
from webapp.operate.doctor import settings as configuration
from webapp.operate.doctor.lines import Remark
from webapp.operate.models import Heard, note
from webapp.runs.models import Attempt, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def told(look: Callable[[], Iterator[Remark]]) -> dict[str, tuple[str, str]]:
    """Level and remedy by what was looked at."""
    return {line.about: (line.level, line.remedy) for line in look()}


def test_a_store_that_is_missing_or_open_to_others_is_named(store: Path) -> None:
    store.chmod(0o755)
    open_to_others = told(machine.store)
    store.chmod(0o700)
    well = told(machine.store)
    store.rmdir()

    missing = told(machine.store)

    assert open_to_others["store"] == ("warning", f"chmod 0700 {store}: other accounts of this machine may enter it")
    assert well["store"] == ("ok", "")
    assert missing["store"] == ("problem", "make the folder, or mount it; workers and web must see the same one")


def test_a_store_that_is_no_folder_of_ours_to_write_in_is_a_problem(settings: Any) -> None:
    settings.STORE = Path("/proc/self")

    assert told(machine.store)["store"][0] == "problem"


def test_disks_are_told_with_what_is_free(store: Path) -> None:
    lines = list(machine.disks())

    assert [line.about for line in lines] == ["disk of the store", "disk of STILLHOUSE_HOME"]
    assert all(" free" in line.words for line in lines)


def test_the_databases_version_clock_and_migrations_are_well_here(project: Project) -> None:
    lines = told(servers.database)

    assert lines == dict.fromkeys(("database", "clocks", "migrations", "catalog"), ("ok", ""))


def test_a_migration_that_is_pending_or_newer_is_named(project: Project) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'operate'")
        pending = told(servers.database)["migrations"]
        cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('runs', '0999_later', now())")
        (newer,) = [line for line in servers.database() if line.about == "migrations"]

    assert pending == ("problem", "run manage.py migrate")
    assert (newer.words, newer.remedy) == ("the database is from a newer Stillhouse: it has runs.0999_later", "update the code")


def test_a_catalog_that_is_not_the_codes_is_named(project: Project) -> None:
    Method.objects.filter(pk="supervised").update(version=0)

    assert told(servers.database)["catalog"] == ("problem", "run manage.py sync_catalog")


def test_a_redis_that_throws_messages_away_is_named(embedded_servers: None, settings: Any) -> None:
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        before = client.config_get("maxmemory*")
        client.config_set("maxmemory", 64 * 1024 * 1024)
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            forgets = told(servers.doorbell)["Redis"]
        finally:
            client.config_set("maxmemory-policy", before["maxmemory-policy"])
            client.config_set("maxmemory", before["maxmemory"])

    assert forgets[0] == "warning" and forgets[1].startswith("set maxmemory-policy to noeviction")
    assert told(servers.doorbell)["Redis"] == ("ok", "")


def test_a_redis_that_is_away_is_a_problem_and_its_password_is_not_shown(settings: Any) -> None:
    settings.REDIS_URL = "redis://:hunter2-of-redis@127.0.0.1:1/0"

    (line,) = servers.doorbell()

    assert line.level == "problem" and "hunter2" not in str(line)


def test_a_site_for_others_is_fit_for_them(settings: Any) -> None:
    settings.ALLOWED_HOSTS, settings.DEVELOPMENT, settings.TLS = ["stillhouse.example.org"], False, True
    well = told(configuration.exposure)
    settings.DEVELOPMENT, settings.TLS = True, False

    unfit = told(configuration.exposure)

    assert {level for level, _ in well.values()} == {"ok"}
    assert {about: level for about, (level, _) in unfit.items()} == {
        "hosts": "ok",
        "development": "problem",
        "secret": "ok",
        "TLS": "warning",
    }


def test_any_host_is_a_problem_and_development_at_home_is_none(settings: Any) -> None:
    settings.ALLOWED_HOSTS, settings.DEVELOPMENT = ["localhost"], True
    at_home = told(configuration.exposure)
    settings.ALLOWED_HOSTS = ["*"]

    assert {level for level, _ in at_home.values()} == {"ok"}
    assert told(configuration.exposure)["hosts"] == ("problem", "set STILLHOUSE_HOSTS to the names that people type")


def test_a_beat_that_fell_silent_is_told_from_one_that_was_never_there(project: Project) -> None:
    never = told(work.beat)
    note("watchdog")
    note("retention", "3 things removed.")
    well = list(work.beat())
    Heard.objects.filter(name="watchdog").update(at=timezone.now() - timedelta(minutes=10))

    late = told(work.beat)

    assert {level for level, _ in never.values()} == {"warning"}
    assert [line.level for line in well] == ["ok", "ok"] and well[1].words.endswith(" ago, 3 things removed.")
    assert late["watchdog"][0] == "problem" and late["retention"] == ("ok", "")


def test_a_silent_worker_is_named_with_its_run(running_run: RunMaker) -> None:
    run = running_run()
    Attempt.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=5))

    none, held, silent = work.workers()

    assert (none.level, none.words) == ("warning", "none is running")
    assert held.words == "1 by 1 worker"
    assert (silent.about, silent.words, silent.level) == ("worker worker-1", f"silent for 5 min, holds run {run.pk}", "warning")


def test_a_queue_that_nobody_serves_is_told_from_one_that_is_served(project: Project) -> None:
    empty = list(work.queue())
    queued_run(project)
    queued_run(project, device_kind="cuda")
    fresh = list(work.queue())
    Run.objects.filter(device_kind="cuda").update(queued_at=timezone.now() - timedelta(hours=3))

    stuck = list(work.queue())

    assert [line.words for line in empty] == ["empty"]
    assert [(line.about, line.level) for line in fresh] == [("queue for cpu", "ok"), ("queue for cuda", "ok")]
    assert stuck[1].words == "1 waiting, the oldest for 3 h; none was claimed since"
    assert stuck[1].remedy == "is a worker running that offers this kind of device?"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "http://[", "http://\x00"])
def test_a_web_server_that_does_not_answer_is_a_warning(url: str) -> None:
    (line,) = work.web(url)

    assert (line.level, line.about) == ("warning", "web")


@pytest.mark.django_db(transaction=True)
def test_the_command_ends_with_1_for_a_problem_and_says_the_same_as_json(here: Installation, project: Project, store: Path) -> None:
    store.chmod(0o700)
    well = here.manage("doctor", "--json")
    store.rmdir()
    lines, told_in_json = here.manage("doctor"), json.loads(here.manage("doctor", "--json").stdout)

    assert (well.returncode, lines.returncode) == (0, 1), well.stdout + well.stderr
    assert json.loads(well.stdout)["well"] is True and told_in_json["well"] is False
    assert [line["about"] for line in told_in_json["lines"] if line["level"] == "problem"] == ["store"]
    assert "problem  store: " in lines.stdout.decode()


def test_a_database_that_is_away_is_said_once_and_without_its_password(embedded_servers: None, tmp_path: Path) -> None:
    import os

    url = "postgresql://stillhouse:hunter2-of-the-database@127.0.0.1:1/none"
    away = Installation({**os.environ, "DATABASE_URL": url}, tmp_path)

    ended = away.manage("doctor")

    printed = ended.stdout.decode() + ended.stderr.decode()
    assert ended.returncode == 1 and "hunter2" not in printed and "Traceback" not in printed
    assert "problem  database: does not answer. start it, or mend DATABASE_URL" in printed
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=1)
