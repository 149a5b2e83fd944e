"""The limit of a request's body at the door of the web server, message by message."""

from typing import Any

import pytest
from asgiref.sync import async_to_sync

from webapp.asgi import BodyLimit


def passed(scope: dict[str, Any], parts: list[bytes], limit: int = 10) -> tuple[list[bytes], list[dict[str, Any]]]:
    """What reaches an application that reads all and then answers unless its client has gone, and what is sent."""
    got: list[bytes] = []
    sent: list[dict[str, Any]] = []
    incoming = [{"type": "http.request", "body": part, "more_body": place < len(parts) - 1} for place, part in enumerate(parts)]

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        for _ in range(len(parts)):
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            got.append(message["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    async_to_sync(BodyLimit(application, limit))(scope, receive, send)  # type: ignore[arg-type]
    return got, sent


def http(*lengths: bytes) -> dict[str, Any]:
    return {"type": "http", "headers": [(b"host", b"x"), *((b"content-length", length) for length in lengths)]}


@pytest.mark.parametrize("lengths", [(), (b"10",), (b"0",), (b"many",), (b"-11",), (b"",)])
def test_what_is_announced_wrongly_counts_by_what_comes(lengths: tuple[bytes, ...]) -> None:
    assert passed(http(*lengths), [b"01234", b"56789"])[1][0]["status"] == 200
    got, sent = passed(http(*lengths), [b"01234", b"56789", b"x"])

    assert got == [b"01234", b"56789"]  # what is over the limit does not reach Django
    assert [message.get("status") for message in sent] == [413, None, None]


@pytest.mark.parametrize("length", [b"11", b"99999999999999999999"])
def test_a_body_that_announces_too_much_never_reaches_the_application(length: bytes) -> None:
    got, sent = passed(http(length), [b""])

    start, answer, end = sent
    assert got == [] and start["status"] == 413
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"application/json" and headers[b"connection"] == b"close"
    assert int(headers[b"content-length"]) == len(answer["body"]) and not end["more_body"]


@pytest.mark.parametrize(("parts", "read"), [([b"01234"] * 4, 4), ([b"x" * 2**20] * 40, 32)])
def test_what_is_still_sent_is_dropped_up_to_a_bound_before_the_answer_ends(parts: list[bytes], read: int) -> None:
    """A client that is cut off while it sends never sees the answer."""
    incoming = list(parts)
    order: list[str] = []

    async def receive() -> Any:
        order.append("read")
        part = incoming.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(incoming)}

    async def send(message: Any) -> None:
        order.append("sent")

    async_to_sync(BodyLimit(None, 10))(http(b"11"), receive, send)  # type: ignore[arg-type]

    assert order == ["sent", "sent", *["read"] * read, "sent"]


def test_what_is_no_request_for_a_page_passes_as_it_is() -> None:
    got, sent = passed({"type": "websocket"}, [b"x" * 11])

    assert got == [b"x" * 11] and sent[0]["status"] == 200
