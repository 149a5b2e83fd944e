"""The task of Python's documentation."""

from collections.abc import Mapping

from engine.tasks.language import LanguageTask
from engine.tasks.stdlib_text.card import SYMBOLS, WINDOW, card
from engine.tasks.stdlib_text.text import PARTS, TEXT
from engine.tasks.vocabulary import Characters, Vocabulary


class StdlibText(LanguageTask):
    """Text without an end: every completion is as long as it may be."""

    card = card
    window = WINDOW

    def texts(self) -> dict[str, str]:
        return dict(PARTS)

    def vocabulary_of(self, texts: Mapping[str, str]) -> Vocabulary:
        return Characters.of(TEXT, SYMBOLS)
