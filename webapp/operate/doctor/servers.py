"""PostgreSQL and Redis: whether they answer, what they are, and whether they are set as Stillhouse needs them."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.recorder import MigrationRecorder
from redis.backoff import NoBackoff
from redis.retry import Retry

from engine.spec import catalog
from webapp import servers
from webapp.catalog.models import Method, Task
from webapp.gate.readiness import differences, known_migrations
from webapp.operate.doctor.lines import Remark, graded

OLDEST_POSTGRESQL = 150_000
SKEW = 2.0
"""Seconds that the clocks of database and host may differ. Leases are the database's alone; dates that people see are both."""

PATIENCE = 3.0


def embedded() -> Iterator[Remark]:
    """The servers of this home, where the environment names no others."""
    names = {"PostgreSQL": "DATABASE_URL", "Valkey": "REDIS_URL"}
    if all(os.environ.get(name) for name in names.values()):
        return
    for server in servers.status():
        if not os.environ.get(names[server.name]):
            stopped = "" if server.pid else "start it: python -m webapp.servers start"
            words = f"embedded, {f'pid {server.pid}' if server.pid else 'not running'}, log {server.log}"
            yield graded(f"{server.name} server", words, problem=stopped)


def database() -> Iterator[Remark]:
    try:
        with connection.cursor() as cursor:
            began = time.time()
            cursor.execute("SELECT clock_timestamp(), current_setting('server_version'), current_setting('server_version_num')::int")
            at, version, number = cursor.fetchone() or (datetime.now(UTC), "", 0)
            here = (began + time.time()) / 2
    except DatabaseError:  # its text has the address, and maybe a password
        yield Remark("problem", "database", "does not answer", "start it, or mend DATABASE_URL: its host, port, name and password")
        return
    old = "" if number >= OLDEST_POSTGRESQL else "move to PostgreSQL 15 or newer: manage.py backup here, manage.py restore there"
    yield graded("database", f"PostgreSQL {version} answers", problem=old)
    skew = abs((at - datetime.fromtimestamp(here, UTC)).total_seconds())
    off = "set both clocks by NTP" if skew > SKEW else ""
    yield graded("clocks", f"those of database and host differ by {skew:.1f} s", warning=off)
    yield from _migrations()


def _migrations() -> Iterator[Remark]:
    applied = set(MigrationRecorder(connection).applied_migrations())
    newer, pending = differences(applied=applied, known=known_migrations())
    if newer:
        yield Remark("problem", "migrations", f"the database is from a newer Stillhouse: it has {'.'.join(min(newer))}", "update the code")
        return
    if pending:
        yield Remark(
            "problem", "migrations", f"{len(pending)} are not applied, the first is {'.'.join(min(pending))}", "run manage.py migrate"
        )
        return
    yield Remark("ok", "migrations", "all applied")
    stale = [
        card.id
        for cards, model in ((catalog.methods(), Method), (catalog.tasks(), Task))
        for card in cards.values()
        if not model._default_manager.filter(pk=card.id, version=card.version, available=True).exists()
    ]
    words = f"{stale[0]} and others are not as the code has them" if stale else "as the code has it"
    yield graded("catalog", words, problem="run manage.py sync_catalog" if stale else "")


def doorbell() -> Iterator[Remark]:
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=Retry(NoBackoff(), 0))
    try:
        with client:
            about = client.info()
    except (redis.RedisError, OSError):
        yield Remark(
            "problem", "Redis", "does not answer", "start it, or mend REDIS_URL; until then runs start late, by the watchdog alone"
        )
        return
    limit, policy = int(about.get("maxmemory", 0)), str(about.get("maxmemory_policy", "noeviction"))
    forgets = "set maxmemory-policy to noeviction: the queue's messages are thrown away when its memory is full"
    words = f"{'Valkey' if 'valkey_version' in about else 'Redis'} {about.get('valkey_version') or about.get('redis_version')} answers, {policy}"
    yield graded("Redis", words, warning=forgets if limit and policy != "noeviction" else "")
