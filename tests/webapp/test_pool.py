"""The pool: whose it is, and that it is there as long as the web server."""

import json
import subprocess
import sys

import pytest

from tests.processes import ROOT

SERVE = """
import asyncio, json
import webapp.asgi as site
from django.conf import settings
from django.db import connection

def pool():
    return settings.DATABASES["default"]["OPTIONS"].get("pool", {}).get("max_size")

async def serve():
    said, found = asyncio.Queue(), [pool()]
    said.put_nowait({"type": "lifespan.startup"})
    heard = asyncio.Queue()
    task = asyncio.create_task(site.application({"type": "lifespan"}, said.get, heard.put))
    found.append((await heard.get())["type"])
    found.append(pool())
    found.append(await asyncio.to_thread(asked))
    said.put_nowait({"type": "lifespan.shutdown"})
    await task
    found.append((await heard.get())["type"])
    found.append(list(connection._connection_pools))
    return found

def asked():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.close()
    return connection.pool.max_size

print(json.dumps(asyncio.run(serve())))
"""


@pytest.mark.servers
def test_the_web_server_has_a_pool_from_its_start_to_its_end(process_environment: dict[str, str]) -> None:
    environment = process_environment | {"STILLHOUSE_REQUESTS_AT_ONCE": "3"}

    served = subprocess.run([sys.executable, "-c", SERVE], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)

    assert served.returncode == 0, served.stderr
    assert json.loads(served.stdout) == [None, "lifespan.startup.complete", 7, 7, "lifespan.shutdown.complete", []]
