"""Middleware that waits for nothing."""

from collections.abc import Awaitable

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin


class Inline(MiddlewareMixin):
    """Looks at each response. Under ASGI it does so on the event loop: Django would hand it to a thread and back, for each request."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        raise NotImplementedError

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        coming = self.get_response(request)
        assert isinstance(coming, Awaitable)
        return self.process_response(request, await coming)
