"""Passages of the documentation that Python's own help() shows, each with the area that it comes from. No torch."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pydoc_data.topics import topics

from engine.errors import DataError

AREAS = {
    "lexical analysis": "identifiers id-classes strings numbers integers floating imaginary",
    "data model": "types objects typesmodules typesmethods typesfunctions specialattrs bltin-code-objects bltin-type-objects "
    "bltin-null-object bltin-ellipsis-object",
    "customization": "customization",
    "attribute access": "attribute-access",
    "emulation": "sequence-types numeric-types callable-types context-managers",
    "execution model": "execmodel naming dynamic-features exceptions",
    "expressions": "atom-identifiers atom-literals lists dict attribute-references subscriptions slicings calls await yield power unary "
    "binary shifting bitwise conversions comparisons in booleans lambda exprlists operator-summary",
    "simple statements": "assert assignment augassign pass del return raise break continue import global nonlocal",
    "compound statements": "compound if else while for try with function class async",
    "string methods": "string-methods",
    "sequence types": "typesseq typesseq-mutable",
    "mapping types": "typesmapping",
    "format strings": "formatstrings",
    "debugger": "debugger",
}
"""The classes in their order: chapters and sections of the manuals, with the help topics that each is made of."""

ROWS = 1_400
"""Passages: fixed, and fewer than there are, so that one more line in a newer Python changes no count."""

SHORTEST = 130  # characters of a passage
SENTENCE = re.compile(r"\n\s*\n|(?<=[.!?])\s+(?=[A-Z\"(])")
RULE = re.compile(r"^[ *=\-^~\"+|]*[*=\-^~\"]{3}[ *=\-^~\"+|]*$", re.MULTILINE)


@dataclass(frozen=True)
class Passage:
    """Sentences that follow each other in one topic, in running text, and the number of their area in AREAS."""

    sentences: tuple[str, ...]
    area: int

    @property
    def text(self) -> str:
        return " ".join(self.sentences)


def read() -> list[Passage]:
    """ROWS passages in the order of the SHA-256 of their text.

    No sentence is in two of them, so that no part of the data repeats another: the help repeats much of its text
    under several topics. What stands in topics of two areas is left out, for it belongs to neither. Raises DataError when they are too few.
    """
    found = sorted(_passages(), key=lambda passage: hashlib.sha256(passage.text.encode()).digest())
    if len(found) < ROWS:
        raise DataError(
            f"Python's help topics are not complete on this machine: {len(found):,} of {ROWS:,} passages; install Python with its library."
        )
    return found[:ROWS]


def _passages() -> Iterator[Passage]:
    """Each as short as it can be with SHORTEST characters; what is left at a topic's end is less and belongs to none."""
    areas_of = _areas_by_sentence()
    used: set[str] = set()
    for area, names in enumerate(AREAS.values()):
        for name in names.split():
            gathered: list[str] = []
            for sentence in _sentences(name):
                if sentence in used or len(areas_of[sentence]) > 1:
                    continue
                used.add(sentence)
                gathered.append(sentence)
                if len(" ".join(gathered)) >= SHORTEST:
                    yield Passage(tuple(gathered), area)
                    gathered = []


def _areas_by_sentence() -> dict[str, set[int]]:
    areas_of: dict[str, set[int]] = {}
    for area, names in enumerate(AREAS.values()):
        for name in names.split():
            for sentence in _sentences(name):
                areas_of.setdefault(sentence, set()).add(area)
    return areas_of


def _sentences(name: str) -> list[str]:
    """A topic's sentences and blocks of code in their order, with single spaces and without the rules of headings and tables."""
    pieces = SENTENCE.split(RULE.sub("", topics.get(name, "")))
    return [sentence for piece in pieces if (sentence := " ".join(piece.split()))]
