"""Text that people name things with: nothing in it that is not seen, or that makes what stands beside it look like something else.

Asked wherever a name, a tag or a note comes in, by page and API alike.
"""

import re
from collections.abc import Callable

from django.core.exceptions import ValidationError

UNSEEN = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
"""Control characters, and the two marks that end a line."""
TURNING = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Marks that turn the direction of text: `a\u202egnp.exe` reads `aexe.png`."""

LINE = re.compile(f"[{UNSEEN}{TURNING}]")
LINES = re.compile(f"(?![\\t\\n\\r])[{UNSEEN}{TURNING}]")
LINE_PATTERN = f"^[^{UNSEEN}{TURNING}]*$"
LINES_PATTERN = rf"^([\t\n\r]|[^{UNSEEN}{TURNING}])*$"
"""The same for a schema."""
SENTENCE = "must hold neither control characters nor marks that turn the direction of text; got {!r:.80}"


def line(text: str) -> str:
    """The text itself. Raises ValueError for what no name may hold."""
    if LINE.search(text):
        raise ValueError(SENTENCE.format(text))
    return text


def lines(text: str) -> str:
    """As `line`, for notes: they may have line breaks and tabs."""
    if found := LINES.search(text):
        raise ValueError(SENTENCE.format(text[max(0, found.start() - 20) : found.end() + 20]))
    return text


def validate_line(text: str) -> None:
    """`line` as a validator of forms and serializers."""
    _validate(line, text)


def validate_lines(text: str) -> None:
    """`lines` as a validator of forms and serializers."""
    _validate(lines, text)


def _validate(check: Callable[[str], str], text: str) -> None:
    try:
        check(text)
    except ValueError as error:
        raise ValidationError(f"{error}.") from None
