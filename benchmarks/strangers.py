"""What people without an account can do to those with one: a member's page while strangers ask for the schema, sign in, and ask for health.

    python benchmarks/strangers.py [--schema 100] [--sign-ins 25] [--health 200] [--flood 500]

A real web process. Each group of strangers asks at once, each stranger from an address of their own, as a trusted proxy tells it; the flood is
from one address, which is the member's too. Meanwhile the member, in a process of their own, loads the table of runs over and over, and the memory
of the web process is looked at twenty times a second.
"""

import argparse
import asyncio
import itertools
import os
import re
import statistics
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import place
import psutil

if TYPE_CHECKING:
    import httpx

    from webapp.accounts.models import Project

PAGE_MS = 500.0
"""The longest that a member waits for a page while strangers do their worst."""
GROWTH_MB = 300.0
"""How much the web process grows under sign-ins."""
HOME = "198.51.100.1"
"""Where the member is, and the flood."""
ALONE_SECONDS = 3.0
AFTERWARDS = 3
"""Pages of the member after the last stranger has been answered."""

Strangers = Callable[["httpx.AsyncClient"], Awaitable[str]]


@dataclass
class Found:
    """What one flood did: a member's waits in milliseconds, the answers to all, the largest memory in MB."""

    waits: list[float] = field(default_factory=list)
    member: Counter[str] = field(default_factory=Counter)
    strangers: Counter[str] = field(default_factory=Counter)
    memory: float = 0.0

    def line(self, name: str) -> str:
        waits = f"member's page {statistics.median(self.waits):,.0f} ms (median), {max(self.waits):,.0f} ms (max) of {len(self.waits)}"
        return f"{name}: {waits}, {dict(self.member)}; strangers {dict(self.strangers)}; web {self.memory:,.0f} MB"


def session_of_a_member(project: "Project") -> str:
    """The cookie of a new member who has signed in."""
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore

    from webapp.accounts.models import Role, User

    user = User.objects.create(username=project.slug)
    project.memberships.create(user=user, role=Role.VIEWER)
    store = SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.save()
    return f"{settings.SESSION_COOKIE_NAME}={store.session_key}"


async def answer_to(asked: Awaitable["httpx.Response"]) -> str:
    """The status, or what went wrong instead."""
    import httpx

    try:
        return str((await asked).status_code)
    except httpx.HTTPError as error:
        return type(error).__name__


async def schema(client: "httpx.AsyncClient") -> str:
    return await answer_to(client.get("/api/v1/schema/"))


async def health(client: "httpx.AsyncClient") -> str:
    return await answer_to(client.get("/healthz"))


async def sign_in(client: "httpx.AsyncClient") -> str:
    """A wrong password under a name of its own, as from a form: each with cookies of its own, taken beforehand."""
    form = {"username": f"stranger {id(client)}", "password": "not the right one", "csrfmiddlewaretoken": client.headers["X-Token"]}
    return await answer_to(client.post("/sign-in/", data=form))


_addresses = (f"203.0.{third}.{fourth}" for third, fourth in itertools.product(range(256), range(1, 255)))


def stranger(url: str, address: str | None = None) -> "httpx.AsyncClient":
    """Somebody at an address of their own."""
    import httpx

    return httpx.AsyncClient(base_url=url, timeout=place.PATIENCE, verify=False, headers={"X-Forwarded-For": address or next(_addresses)})


async def with_form(url: str) -> "httpx.AsyncClient":
    """A stranger who has opened the page for signing in."""
    client = stranger(url)
    page = (await client.get("/sign-in/")).text
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    client.headers["X-Token"] = token[1] if token else ""
    return client


def flood(url: str, visitor: place.Visitor, web: psutil.Process, ask: Strangers | None, count: int, *, address: str | None = None) -> Found:
    """What happens while `count` strangers ask at once; without strangers, what a quiet machine does."""
    found = Found()
    asyncio.run(_ask_all(url, found, visitor, web, ask, count, address))
    found.waits, found.member = visitor.end(AFTERWARDS)
    return found


async def _ask_all(
    url: str, found: Found, visitor: place.Visitor, web: psutil.Process, ask: Strangers | None, count: int, address: str | None
) -> None:
    clients = [await with_form(url) if ask is sign_in else stranger(url, address) for _ in range(count)]

    async def look() -> None:
        while True:
            found.memory = max(found.memory, web.memory_info().rss / 1e6)
            await asyncio.sleep(0.05)

    visitor.begin()
    looking = asyncio.create_task(look())
    if ask is not None:
        found.strangers.update(await asyncio.gather(*(ask(client) for client in clients)))
    else:
        await asyncio.sleep(ALONE_SECONDS)
    looking.cancel()
    for client in clients:
        await client.aclose()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schema", type=int, default=100)
    parser.add_argument("--sign-ins", type=int, default=25)
    parser.add_argument("--health", type=int, default=200)
    parser.add_argument("--flood", type=int, default=500)
    options = parser.parse_args()
    os.environ["STILLHOUSE_TRUSTED_PROXIES"] = "127.0.0.1"
    with place.project() as project, place.running("web") as url:
        visitor = place.Visitor(url, [f"/p/{project.slug}/"], session_of_a_member(project), at=HOME)
        web = next(child for child in psutil.Process().children() if "uvicorn" in child.cmdline())

        def measured(name: str, ask: Strangers | None, count: int, address: str | None = None) -> Found:
            found = flood(url, visitor, web, ask, count, address=address)
            print(found.line(name), flush=True)
            return found

        quiet = measured("nobody else", None, 0)
        floods = [
            measured(f"{options.health} × health", health, options.health),
            measured(f"{options.schema} × schema", schema, options.schema),
            measured(f"{options.flood} × schema, one address", schema, options.flood, HOME),
            measured(f"{options.sign_ins} sign-ins", sign_in, options.sign_ins),
        ]
    met = [
        place.verdict("longest wait of a member", max(wait for found in floods for wait in found.waits), "ms", PAGE_MS, at_least=False),
        place.verdict("growth under sign-ins", max(0.0, floods[-1].memory - quiet.memory), "MB", GROWTH_MB, at_least=False),
        place.verdict(
            "pages that a member got",
            sum(found.member["200"] for found in floods) / sum(len(found.waits) for found in floods),
            "of all",
            1,
            at_least=True,
        ),
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
