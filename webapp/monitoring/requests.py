"""How long this process takes for its requests, by view, method and class of status: labels that no client can make up more of."""

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware
from prometheus_client import Histogram

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
SECONDS = Histogram(
    "stillhouse_request_duration_seconds",
    "From a request's turn to its computed answer, in this web process.",
    ["view", "method", "status"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)


@sync_and_async_middleware
def timed(
    answer: Callable[[HttpRequest], Any],
) -> Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """The outermost middleware. A stream counts until it begins."""

    async def answer_later(request: HttpRequest) -> HttpResponseBase:
        began = perf_counter()
        response: HttpResponseBase = await answer(request)
        _note(request, response, perf_counter() - began)
        return response

    def answer_now(request: HttpRequest) -> HttpResponseBase:
        began = perf_counter()
        response: HttpResponseBase = answer(request)
        _note(request, response, perf_counter() - began)
        return response

    return answer_later if iscoroutinefunction(answer) else answer_now


def _note(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    """An address that no view has is `none`, and so is a request that was refused before its view was looked for."""
    view = request.resolver_match.view_name if request.resolver_match else "none"
    method = request.method if request.method in METHODS else "other"
    SECONDS.labels(view, method, f"{response.status_code // 100}xx").observe(seconds)
