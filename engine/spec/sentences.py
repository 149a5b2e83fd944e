"""What pydantic refuses, as sentences for the person who typed it: the field's path, what would be right, and what was given. No torch."""

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from engine.errors import Problem


def problems_of(model: type[BaseModel], data: Any, *, at: str = "") -> list[Problem]:
    """What pydantic refuses in `data`, as sentences, with `at` before each path; empty when all is well."""
    try:
        model.model_validate(data)
    except ValidationError as error:
        return problems_in(error, at=at)
    return []


def problems_in(error: ValidationError, *, at: str = "") -> list[Problem]:
    """What a ValidationError holds, with `at` before each path."""
    return [Problem(".".join([at] * bool(at) + [str(part) for part in detail["loc"]]), _sentence(detail)) for detail in error.errors()]


def _sentence(detail: ErrorDetails) -> str:
    """Pydantic's finding as one sentence that says what would be right and what was given."""
    given = detail["input"]
    if detail["type"] in SENTENCES:
        length = len(given) if isinstance(given, str) else 0
        bounds = {name: _plain(bound) for name, bound in detail.get("ctx", {}).items()}
        return SENTENCES[detail["type"]].format(given=f"{given!r:.80}", length=length, **bounds)
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"]).rstrip(".") + "."
    return f"{detail['msg'][0].lower()}{detail['msg'][1:].rstrip('.')}; got {given!r:.80}."


def _plain(bound: Any) -> Any:
    """A bound as a person writes it: 0, not 0.0."""
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


WHOLE, NUMBER, TRUTH = ("must be a whole number; got {given}.", "must be a number; got {given}.", "must be true or false; got {given}.")
SENTENCES = {
    "missing": "is required.",
    "extra_forbidden": "is not a known field; remove it or check its spelling.",
    "greater_than": "must be greater than {gt}; got {given}.",
    "greater_than_equal": "must be at least {ge}; got {given}.",
    "less_than": "must be less than {lt}; got {given}.",
    "less_than_equal": "must be at most {le}; got {given}.",
    "literal_error": "must be one of {expected}; got {given}.",
    "string_too_short": "must not be empty.",
    "string_too_long": "must have at most {max_length} characters; got {length}.",
    "string_type": "must be text; got {given}.",
    "too_long": "must have at most {max_length} entries; got {actual_length}.",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), WHOLE),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), NUMBER),
    **dict.fromkeys(("bool_type", "bool_parsing"), TRUTH),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "must be a JSON object; got {given}."),
    "list_type": "must be a list; got {given}.",
}
