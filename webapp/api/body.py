"""The body of a request: JSON of a limited size, with nothing in it that the database can't hold."""

import json
import re
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from engine.errors import Problem, SpecError

MAX_DEPTH = 32
NO_TEXT = re.compile("[\x00\ud800-\udfff]")
"""What PostgreSQL can't hold as text though JSON allows it: NUL, and halves of surrogate pairs."""


def unstorable(value: Any, at: str = "", depth: int = 0) -> list[Problem]:
    """Each part of a JSON value that the database can't hold: text with NUL or half a surrogate pair, nesting beyond MAX_DEPTH."""
    if depth > MAX_DEPTH:
        return [Problem(at, f"is nested more than {MAX_DEPTH} levels deep.")]
    if isinstance(value, str) and NO_TEXT.search(value):
        return [Problem(at, "must not hold NUL characters or halves of surrogate pairs.")]
    if isinstance(value, Mapping):
        keys = [problem for key in value for problem in unstorable(key, at)]
        return keys + [
            problem for key, inner in value.items() for problem in unstorable(inner, f"{at}.{key}" if at else str(key), depth + 1)
        ]
    if isinstance(value, list | tuple):
        return [
            problem for index, inner in enumerate(value) for problem in unstorable(inner, f"{at}.{index}" if at else str(index), depth + 1)
        ]
    return []


def too_large(got: int | None = None) -> str:
    """The sentence for a body over the limit."""
    got_text = "" if got is None else f"; got {got:,}"
    return f"The body of a request may have at most {settings.DATA_UPLOAD_MAX_MEMORY_SIZE:,} bytes{got_text}."


class JsonBody(JSONParser):
    """JSON in UTF-8. Raises SpecError for what no endpoint could store, RequestDataTooBig beyond DATA_UPLOAD_MAX_MEMORY_SIZE.

    Django's own limit is on `request.body` and asks the Content-Length alone; DRF reads past it.
    """

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        data = stream.read(limit + 1)
        if len(data) > limit:
            raise RequestDataTooBig(too_large())
        try:
            body = json.loads(data, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise ParseError("The body must be JSON in UTF-8.") from None
        if problems := unstorable(body):
            raise SpecError(problems)
        return body


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are not JSON, though Python reads them."""
    raise ValueError(name)
