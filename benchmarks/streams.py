"""Open pages over one web process: its connections, threads, memory and processor time, how late news are, and how long other pages take.

    python benchmarks/streams.py [--streams 200] [--people 1] [--tables 20] [--runs 5] [--seconds 20]

Live runs are written to once a second by a process of its own, through the sink that a worker uses; the value of each point is the time at
which it was written. Clients, database and web server share the machine: where the clients have more to do, the pages' times are the machine's.
"""

import argparse
import asyncio
import json
import multiprocessing
import pickle
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import place

if TYPE_CHECKING:
    import psycopg

    from webapp.accounts.models import Project

PAGE_MS = 200.0
CONNECTIONS = 20.0
QUIET_SECONDS = 6.0

BEGAN = time.monotonic()
"""A small number of seconds is told with more digits than the time of day."""

OPENING = asyncio.Semaphore(50)
"""How many pages are opened at the same moment."""


@dataclass
class Heard:
    """What the clients of one kind heard."""

    statuses: "Counter[str]" = field(default_factory=Counter)
    lateness: list[float] = field(default_factory=list)
    listening: set[int] = field(default_factory=set)
    reached: set[int] = field(default_factory=set)
    rows: int = 0


@dataclass(frozen=True)
class Usage:
    """What the web process and the database had used at one moment."""

    at: float
    cpu: float
    commits: int


def write(pickled: bytes, began: float, seconds: float) -> None:
    """The writer's process: one point, the time, once a second for each run. Claims can't be read before Django is set up."""
    import django

    django.setup()
    from engine.events import Metrics, Progress
    from workers import wire
    from workers.sink import Sink

    sinks = [Sink(claim) for claim in pickle.loads(pickled)]
    until, step = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        step += 1
        for sink in sinks:
            sink.add(
                wire.decode(
                    wire.encode([Metrics(step, {"loss": time.monotonic() - began}), Progress(step, 100_000, "train", float(step), 1.0)])
                )
            )
            sink.flush()
        time.sleep(1)


async def listen(address: str, path: str, cookie: str, number: int, heard: Heard) -> None:
    """One open page: reads its stream until it is canceled."""
    parts = urlsplit(address)
    try:
        async with OPENING:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n\r\n".encode())
            status = (await reader.readline()).decode().split(" ")[1:2]
    except OSError as error:
        heard.statuses[type(error).__name__] += 1
        return
    try:
        heard.statuses[status[0] if status else "closed"] += 1
        event = ""
        async for line in reader:
            text = line.decode().strip()
            if text.startswith("retry:"):
                heard.listening.add(number)
            elif text.startswith("event: "):
                event = text.removeprefix("event: ")
            elif text.startswith("data: "):
                note(event, json.loads(text.removeprefix("data: ")), number, heard)
    except (OSError, ValueError) as error:
        heard.statuses[type(error).__name__] += 1
    finally:
        heard.listening.discard(number)
        writer.close()


def note(event: str, data: dict[str, Any], number: int, heard: Heard) -> None:
    if event == "points" and (values := data["series"].get("loss", [[], []])[1]):
        heard.lateness.append(time.monotonic() - BEGAN - values[-1])
        heard.reached.add(number)
    elif event == "rows":
        heard.rows += len(data["rows"])


def web_process(address: str) -> Any:
    import psutil

    port = urlsplit(address).port
    return next(one for one in psutil.Process().children() if str(port) in one.cmdline())


def asked(database: "psycopg.Connection[Any]", question: str) -> int:
    """The one number that the database answers with."""
    row = database.execute(question).fetchone()
    assert row is not None
    return int(row[0])


def usage(process: Any, database: "psycopg.Connection[Any]") -> Usage:
    spent = process.cpu_times()
    commits = asked(database, "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
    return Usage(time.monotonic(), spent.user + spent.system, commits)


def connections(database: "psycopg.Connection[Any]") -> int:
    """How many the database has, but for those of this process."""
    return asked(database, "SELECT count(*) - 2 FROM pg_stat_activity WHERE datname = current_database()")


async def watch(process: Any, database: "psycopg.Connection[Any]", seconds: float, peak: dict[str, float]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = {"connections": connections(database), "MB": process.memory_info().rss / 1e6, "threads": process.num_threads()}
        peak.update({name: max(value, peak.get(name, 0)) for name, value in found.items()})
        await asyncio.sleep(0.5)


def spent(before: Usage, after: Usage) -> str:
    seconds = after.at - before.at
    return f"{(after.cpu - before.cpu) / seconds:.2f} cores, {(after.commits - before.commits) / seconds:.1f} transactions a second"


async def measure(address: str, project: "Project", cookies: list[str], claims: list[Any], options: argparse.Namespace) -> bool:
    """Prints what was found. True when every target was met."""
    import psycopg
    from django.conf import settings
    from django.urls import reverse

    process, database = web_process(address), psycopg.connect(settings.DATABASE_URL, autocommit=True)
    pages, tables = Heard(), Heard()
    others = [reverse("runs", args=[project.slug]), reverse("run-detail", args=[claims[0].run_id]), reverse("home") + "?all"]
    visitor = await asyncio.to_thread(place.Visitor, address, others, cookies[0], pause=0.1)
    print(f"before: {connections(database)} connections, {process.memory_info().rss / 1e6:.0f} MB, {process.num_threads()} threads")
    ids = ",".join(str(claim.run_id) for claim in claims)
    rows = reverse("runs-events", args=[project.slug]) + f"?runs={ids}"
    opened = [asyncio.create_task(listen(address, rows, cookies[0], number, tables)) for number in range(options.tables)]
    await until_open(tables, options.tables)
    before = usage(process, database)
    await asyncio.sleep(QUIET_SECONDS)
    print(f"{len(tables.listening)} open tables while nothing happens: {spent(before, usage(process, database))}")

    for number in range(options.streams):
        path = reverse("run-events", args=[claims[number % len(claims)].run_id])
        opened.append(asyncio.create_task(listen(address, path, cookies[number % len(cookies)], number, pages)))
    await until_open(pages, options.streams)
    before = usage(process, database)
    await asyncio.sleep(QUIET_SECONDS)
    print(f"{len(pages.listening)} of {options.streams} streams open while nothing happens: {spent(before, usage(process, database))}")
    visitor.begin()
    await asyncio.sleep(options.seconds / 2)
    times, statuses = await asyncio.to_thread(visitor.end)
    quiet = statistics.quantiles(times, n=20)[-1]
    print(f"other pages while nothing happens: median {statistics.median(times):.0f} ms, p95 {quiet:.0f} ms, statuses {dict(statuses)}")

    writer = multiprocessing.get_context("spawn").Process(target=write, args=(pickle.dumps(claims), BEGAN, options.seconds))
    writer.start()
    peak: dict[str, float] = {}
    before = usage(process, database)
    visitor.begin()
    await watch(process, database, options.seconds, peak)
    times, statuses = await asyncio.to_thread(visitor.end)
    print(f"while {len(claims)} runs are written to: {spent(before, usage(process, database))}")
    await asyncio.to_thread(writer.join)
    for task in opened:
        task.cancel()
    await asyncio.gather(*opened, return_exceptions=True)
    print(f"other pages: median {statistics.median(times):.0f} ms, p95 {statistics.quantiles(times, n=20)[-1]:.0f} ms, {dict(statuses)}")
    print(f"streams: statuses {dict(pages.statuses)}, {len(pages.reached)} of {options.streams} heard news", end="")
    if pages.lateness:
        late = statistics.quantiles(pages.lateness, n=20)
        print(f", {statistics.median(pages.lateness):.2f} s after they were written (p95 {late[-1]:.2f} s)", end="")
    print(f"\ntables: statuses {dict(tables.statuses)}, {tables.rows} rows told")
    print(f"web process at its peak: {peak['MB']:.0f} MB, {peak['threads']:.0f} threads")
    met = [
        place.verdict("connections to the database", peak["connections"], "", CONNECTIONS + 2, at_least=False),  # the writer's too
        place.verdict("streams that heard news", len(pages.reached), "", options.streams, at_least=True),
        place.verdict("other pages, p95 while nothing happens", quiet, "ms", PAGE_MS, at_least=False),
    ]
    return all(met)


async def until_open(heard: Heard, count: int, *, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while len(heard.listening) < count and time.monotonic() < until:
        await asyncio.sleep(0.1)


def session_of(project: "Project", name: str) -> tuple[Any, str]:
    """A member, and the cookie of who has signed in."""
    from django.test import Client

    from webapp.accounts.models import Role, User

    user = User.objects.create(username=name)
    project.memberships.create(user=user, role=Role.VIEWER)
    client = Client()
    client.force_login(user)
    return user, "; ".join(f"{key}={value.value}" for key, value in client.cookies.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=200, help="open pages of runs")
    parser.add_argument("--people", type=int, default=1, help="who have them open")
    parser.add_argument("--tables", type=int, default=20, help="open tables of runs, of the first person")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    with place.project() as project:
        from tests.runs import running_claim
        from webapp.accounts.models import User

        claims = [running_claim(project=project, name=f"live {number}", priority=100) for number in range(options.runs)]
        users, cookies = zip(*(session_of(project, f"{project.slug}-{number}") for number in range(options.people)), strict=True)
        try:
            with place.running("web") as address:
                met = asyncio.run(measure(address, project, list(cookies), claims, options))
        finally:
            User.objects.filter(pk__in=[user.pk for user in users]).delete()
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
