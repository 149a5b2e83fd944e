"""The web server's entry point: `uvicorn webapp.asgi:application`."""

import asyncio
import json
import os
from contextlib import suppress
from typing import cast

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGIReceiveEvent, ASGISendCallable, Scope

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

from django.core.asgi import get_asgi_application

_django = get_asgi_application()

from django.conf import settings  # noqa: E402
from django.core.exceptions import ImproperlyConfigured  # noqa: E402

from webapp import logs, store  # noqa: E402
from webapp.api.body import too_large  # noqa: E402
from webapp.gate.address import ClientAddress  # noqa: E402
from webapp.gate.health import Health  # noqa: E402
from webapp.gate.limits import RequestLimits, sign_in_paths  # noqa: E402
from webapp.lasting import Lasting  # noqa: E402
from webapp.pool import Pooled  # noqa: E402
from webapp.turns import Turns  # noqa: E402

if "FORWARDED_ALLOW_IPS" in os.environ:
    raise ImproperlyConfigured(
        "FORWARDED_ALLOW_IPS would let uvicorn believe X-Forwarded-For before Stillhouse looks at it; unset it, and name your proxies in STILLHOUSE_TRUSTED_PROXIES."
    )

logs.adopt("uvicorn", "uvicorn.access")
store.close_to_others()

READ_ON_BYTES, READ_ON_SECONDS = 32 * 2**20, 10.0
"""So much of a body that was refused is read, and for so long."""


class BodyLimit:
    """Ends a request whose body is over the limit, before Django has written it to disk, also where no Content-Length says how long it is."""

    def __init__(self, app: ASGI3Application, limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self.limit:
            await _refuse(receive, send, more=True)
            return
        got, is_over, is_more = 0, False, True

        async def receive_within() -> ASGIReceiveEvent:
            nonlocal got, is_over, is_more
            message = await receive()
            if message["type"] == "http.request":
                got, is_more = got + len(message["body"]), message["more_body"]
                if got > self.limit:
                    is_over = True
                    return {"type": "http.disconnect"}  # so Django gives up without a response of its own
            return message

        await self.app(scope, receive_within, send)
        if is_over:
            await _refuse(receive, send, more=is_more)


async def _refuse(receive: ASGIReceiveCallable, send: ASGISendCallable, *, more: bool) -> None:
    """Answers at once, and ends the answer when the client has sent all: it would never read the answer of a connection that is closed before."""
    body = json.dumps({"detail": too_large()}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    if more:
        with suppress(TimeoutError):
            async with asyncio.timeout(READ_ON_SECONDS):
                await _read_on(receive, READ_ON_BYTES)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _read_on(receive: ASGIReceiveCallable, at_most: int) -> None:
    """Drops what comes."""
    while at_most > 0:
        message = await receive()
        if message["type"] != "http.request" or not message["more_body"]:
            return
        at_most -= len(message["body"])


sign_in_paths()  # reads every page's code, so that no request waits for that
_in_turn = Turns(
    cast(ASGI3Application, _django),
    at_once=settings.REQUESTS_AT_ONCE,
    waiting=settings.REQUESTS_WAITING,
    seconds=settings.REQUEST_WAIT_SECONDS,
)
_limited = RequestLimits(Health(BodyLimit(Lasting(_in_turn), settings.DATA_UPLOAD_MAX_MEMORY_SIZE)))
application = Pooled(ClientAddress(_limited, settings.TRUSTED_PROXIES), settings.REQUESTS_AT_ONCE + settings.LIVE_CONNECTIONS)
