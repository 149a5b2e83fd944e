"""A web server's side of ASGI, for tests of what stands in front of Django."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class Exchange:
    """One request and what was answered. `say` is what the client sends next; after it the client says nothing."""

    def __init__(self, *said: Message, path: str = "/", method: str = "GET") -> None:
        self.scope: Message = {"type": "http", "path": path, "method": method, "headers": []}
        self.sent: list[Message] = []
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        for message in said or (request(),):
            self._said.put_nowait(message)

    def say(self, message: Message) -> None:
        self._said.put_nowait(message)

    async def go_through(self, app: Any) -> None:
        async def send(message: Message) -> None:
            self.sent.append(message)

        await app(self.scope, self._said.get, send)

    @property
    def status(self) -> int | None:
        return next((message["status"] for message in self.sent if message["type"] == "http.response.start"), None)

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def is_over(self) -> bool:
        return bool(self.sent) and self.sent[-1]["type"] == "http.response.body" and not self.sent[-1].get("more_body", False)


def request(body: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


GONE: Message = {"type": "http.disconnect"}


async def answer(send: Callable[[Message], Awaitable[None]], body: bytes = b"answer", **headers: str) -> None:
    """As Django answers."""
    told = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": told})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def until(condition: Callable[[], object]) -> None:
    """Lets others go on until it is true."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)
