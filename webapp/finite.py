"""Numbers that JSON has no words for."""

import math
from typing import Any


def finite(value: Any) -> Any:
    """A JSON-like value with None in place of every number in it that is NaN or infinite: JSON has none, and PostgreSQL's JSON refuses them."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: finite(inner) for key, inner in value.items()}
        case list() | tuple():
            return [finite(inner) for inner in value]
    return value
