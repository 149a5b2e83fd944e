"""The web process's connections to the database: few, kept, and given back as soon as an answer is computed.

The pool is the web server's alone. A worker has as many connections as it has threads, which its slots bound; a command has one; and a
child of a worker has none.
"""

from typing import Any

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

PATIENCE_SECONDS = 5.0
"""How long a request waits for a connection before it is answered with 503."""

IDLE_SECONDS = 60.0


class Pooled:
    """Gives the process a pool of so many connections when the web server starts, and closes it when the server ends."""

    def __init__(self, app: ASGI3Application, connections: int) -> None:
        self.app, self.connections = app, connections

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        await receive()
        use_pool(self.connections)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        connection.close_pool()  # type: ignore[attr-defined]
        await send({"type": "lifespan.shutdown.complete"})


def use_pool(connections: int) -> None:
    """From here on this process opens at most so many connections."""
    database: dict[str, Any] = settings.DATABASES["default"]
    database["CONN_HEALTH_CHECKS"] = True  # after a restart of PostgreSQL nobody gets a connection that has died
    database["OPTIONS"]["pool"] = {"min_size": 1, "max_size": connections, "timeout": PATIENCE_SECONDS, "max_idle": IDLE_SECONDS}


class GiveBack(MiddlewareMixin):
    """Gives the connection back when the answer is computed: not when its last byte is sent, which is up to who reads it."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if connection.settings_dict["OPTIONS"].get("pool") and not connection.in_atomic_block:
            connection.close()
        return response
