"""What containers ask: does it live, and is it ready. No page shows these."""

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from webapp.gate.readiness import LOOKS

HEALTH = "/healthz"
ALIVE = b'{"process": "ok"}'
HEADERS = [(b"content-type", b"application/json"), (b"cache-control", b"private, no-store"), (b"x-content-type-options", b"nosniff")]


class Health:
    """Answers `/healthz` with 200 while this process answers at all. Asks no other, and waits for no turn: neither a database that is away nor
    a crowd is a reason to start the web server again."""

    def __init__(self, app: ASGI3Application) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "http" and scope["path"] == HEALTH:
            await _answer(scope, send)
        else:
            await self.app(scope, receive, send)


async def _answer(scope: HTTPScope, send: ASGISendCallable) -> None:
    is_safe = scope["method"] in {"GET", "HEAD"}
    body = ALIVE if is_safe else b""
    more = [(b"content-length", str(len(body)).encode())] + ([] if is_safe else [(b"allow", b"GET, HEAD")])
    await send({"type": "http.response.start", "status": 200 if is_safe else 405, "headers": [*HEADERS, *more], "trailers": False})
    await send({"type": "http.response.body", "body": body, "more_body": False})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when database and Redis answer and the database has this code's migrations, else 503; says what is wrong."""
    found = LOOKS.newest()
    return JsonResponse({"database": found.database, "redis": found.redis}, status=200 if found.is_ready else 503)
