"""JSON as the standard has it."""

import json
import math
from typing import Any

from rest_framework.renderers import JSONRenderer
from rest_framework.utils.encoders import JSONEncoder


class StrictJson(JSONRenderer):
    """JSON without spaces. A number that is not finite becomes null: JSON has none, and readers refuse Python's NaN."""

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        if data is None:
            return b""
        try:
            text = json.dumps(data, cls=JSONEncoder, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except ValueError:  # found where it is: rare, so that most answers are not walked
            text = json.dumps(finite(data), cls=JSONEncoder, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()


def finite(value: Any) -> Any:
    """The value with None in place of every number in it that is not finite."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: finite(inner) for key, inner in value.items()}
        case list() | tuple():
            return [finite(inner) for inner in value]
    return value
