"""JSON as the standard has it."""

import json
from typing import Any

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder

from webapp.finite import finite


class StrictJson(JSONRenderer):
    """JSON without spaces. A number that is not finite becomes null: JSON has none, and readers refuse Python's NaN."""

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        if data is None:
            return b""
        try:
            text = json.dumps(data, cls=JSONEncoder, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except ValueError:  # found where it is: rare, so that most responses are not walked
            text = json.dumps(finite(data), cls=JSONEncoder, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()


class WhateverIsAccepted(DefaultContentNegotiation):
    """For a page: it comes as it is, whatever the reader accepts. A refusal would have to be drawn in a template that there is not."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> tuple[Any, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type
