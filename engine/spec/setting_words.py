"""A setting's type and bounds in words, from its JSON schema. The reference, the methods' pages and the launch form say them alike.

A JSON schema and not a pydantic model is read, because the database keeps the schema of a method that is no longer installed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

TRUTH = "true or false"
TYPES = {"integer": "whole number", "number": "number", "boolean": TRUTH, "string": "text", "object": "object", "null": "empty"}
LARGE = 1e5
"""Limits beyond it guard the machine and don't help a person."""


def label_of(name: str, info: FieldInfo | None = None) -> str:
    """A field's title where it has one, else its name in words: `batch_size` → `Batch size`. Acronyms need a title."""
    words = name.replace("_", " ")
    return (info.title if info is not None else None) or words[:1].upper() + words[1:]


@dataclass(frozen=True)
class Limit:
    """One end of a range: `> 0` in signs, `over 0` in words. `of_length`: it limits how long a text or a list is."""

    sign: str
    words: str
    value: float
    of_length: bool = False

    @property
    def in_signs(self) -> str:
        return f"{'length ' * self.of_length}{self.sign} {_number(self.value)}"

    @property
    def in_words(self) -> str:
        return f"{self.words} {_number(self.value)}"


LIMITS = {
    "exclusiveMinimum": (">", "over", False),
    "minimum": ("≥", "at least", False),
    "exclusiveMaximum": ("<", "under", False),
    "maximum": ("≤", "at most", False),
    "minLength": ("≥", "at least", True),
    "maxLength": ("≤", "at most", True),
    "minItems": ("≥", "at least", True),
    "maxItems": ("≤", "at most", True),
}
"""What a JSON schema calls a limit, and what a person does."""


@cache
def schemas_of(model: type[BaseModel]) -> Mapping[str, Mapping[str, Any]]:
    """The JSON schema of each field of a model, by name."""
    schemas: dict[str, Mapping[str, Any]] = model.model_json_schema()["properties"]
    return schemas


def type_words(schema: Mapping[str, Any], *, truth: str = TRUTH, quote: str = "") -> str:
    """`number or empty`, `list of whole number`, or the choices with commas between them, each within `quote`.

    `truth` is what a flag is: people who write JSON say true, those who tick a box say yes.
    """
    match schema:
        case {"anyOf": [*options]}:
            return " or ".join(type_words(option, truth=truth, quote=quote) for option in options)
        case {"enum": [*choices]}:
            return ", ".join(f"{quote}{choice}{quote}" for choice in choices)
        case {"const": choice}:
            return f"{quote}{choice}{quote}"
        case {"$ref": reference}:
            return str(reference).rpartition("/")[2]
        case {"type": "array"}:
            return f"list of {type_words(schema.get('items', {}), truth=truth, quote=quote)}"
        case {"type": "boolean"}:
            return truth
        case {"type": kind}:
            return TYPES.get(kind, str(kind))
    return "anything"


def limits_of(schema: Mapping[str, Any]) -> list[Limit]:
    """The limits of a setting where it is not empty, lower ones first."""
    return [
        Limit(sign, words, part[key], of_length)
        for part in _not_empty(schema)
        for key, (sign, words, of_length) in LIMITS.items()
        if key in part
    ]


def helpful_limits(schema: Mapping[str, Any]) -> list[Limit]:
    """Those that help a person to choose a number: neither lengths nor very large ones."""
    return [limit for limit in limits_of(schema) if not limit.of_length and abs(limit.value) <= LARGE]


def _not_empty(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from (option for option in schema.get("anyOf", [schema]) if option.get("type") != "null")


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.10g}"
