"""Parameters of a query that have few right values. Any other is refused: a typing error must not look like a result."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from drf_spectacular.utils import OpenApiParameter

from engine.errors import SpecError

FLAGS = {"true": True, "1": True, "false": False, "0": False}
DIGITS = re.compile(r"-?[0-9]+")
LARGEST = 2**63 - 1
"""What a column of the database holds at most."""


class WholeNumberField(forms.IntegerField):
    """A whole number from `least` to `most`, None where it was left empty. Anything else is refused with a sentence that says what is right.

    Django's own field also takes `1.0`, and digits of other scripts, which people do not type into an address.
    """

    def __init__(self, *, least: int = 0, most: int = LARGEST) -> None:
        super().__init__(required=False, min_value=least, max_value=most)

    def clean(self, value: Any) -> int | None:
        text = "" if value is None else str(value).strip()
        try:
            if text and not DIGITS.fullmatch(text):
                raise forms.ValidationError("not in digits")
            number: int | None = super().clean(text)
        except forms.ValidationError:
            raise forms.ValidationError(f"must be a whole number from {self.min_value} to {self.max_value}; got {text!r:.80}.") from None
        return number


def whole_number_in(text: str, *, least: int = 0, most: int = LARGEST) -> int | None:
    """The whole number that a text is; None for an empty one, and for any text that is no number or out of range."""
    try:
        return WholeNumberField(least=least, most=most).clean(text)
    except forms.ValidationError:
        return None


def whole_number(query: Mapping[str, str], name: str, default: int | None = None, *, least: int = 0, most: int = LARGEST) -> int | None:
    """A whole number among the query's parameters; `default` when the query leaves it out or empty. Raises SpecError."""
    try:
        number = WholeNumberField(least=least, most=most).clean(query.get(name, ""))
    except forms.ValidationError as error:
        raise SpecError.at(name, error.messages[0]) from None
    return default if number is None else number


def whole_number_parameter(name: str, description: str, *, least: int = 0, most: int = LARGEST) -> OpenApiParameter:
    """A whole number of a query, for the schema: with the limits that `whole_number` asks for."""
    return OpenApiParameter(name, {"type": "integer", "minimum": least, "maximum": most}, description=description)


def flag_of(text: str) -> bool:
    """`true`, `1`, `false` or `0`, in any case of letters. Raises ValueError with a sentence that lacks its subject."""
    if (value := FLAGS.get(text.strip().lower())) is None:
        raise ValueError(f"must be true or false; got {text!r:.80}.")
    return value


def flag(query: Mapping[str, str], name: str, default: bool = False) -> bool:
    """Yes or no; `default` when the query leaves it out or empty. Raises SpecError."""
    text = query.get(name, "")
    try:
        return flag_of(text) if text.strip() else default
    except ValueError as error:
        raise SpecError.at(name, str(error)) from None


def choice(query: Mapping[str, str], name: str, choices: Sequence[str]) -> str:
    """One of the choices; empty when the query leaves it out or empty. Raises SpecError."""
    text = query.get(name, "").strip()
    if text and text not in choices:
        raise SpecError.at(name, f"must be one of {', '.join(choices)}; got {text!r:.80}.")
    return text
