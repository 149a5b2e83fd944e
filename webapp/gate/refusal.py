"""Requests that are turned away for a while: a status, one sentence, and when to come again. JSON under /api/, a page of ours elsewhere."""

import json
import math
from functools import lru_cache

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin

HEADINGS = {429: "Too many at once", 503: "Not right now"}
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
"""For a page that is made without Django's middleware: it has nothing inline."""


class NotNow(Exception):
    """The request is right, and may come again after `seconds`. The message is a sentence for the person who asked."""

    def __init__(self, sentence: str, *, status: int, seconds: float) -> None:
        super().__init__(sentence)
        self.status, self.seconds = status, max(1, math.ceil(seconds))


def response_to(refused: NotNow, path: str) -> HttpResponse:
    """The response to a request for `path`. Asks neither the database nor a session."""
    if path.startswith("/api/"):
        response = HttpResponse(json.dumps({"detail": str(refused)}), content_type="application/json", status=refused.status)
    else:
        response = HttpResponse(_page(refused.status, str(refused)), status=refused.status)
        response["Content-Security-Policy"] = POLICY
    response["Retry-After"] = str(refused.seconds)
    response["Cache-Control"] = "private, no-store"
    response["X-Content-Type-Options"] = "nosniff"
    return response


@lru_cache(maxsize=256)
def _page(status: int, sentence: str) -> str:
    """Kept, because whoever is turned away asks again: a refusal must cost less than what it refuses."""
    return render_to_string("busy.html", {"heading": HEADINGS[status], "sentence": sentence})


class RefusalsOfViews(MiddlewareMixin):
    """Answers for pages that raise NotNow; the API's own handler does it for endpoints."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return response_to(error, request.path_info) if isinstance(error, NotNow) else None
