"""The task of Python's source."""

import string
from collections.abc import Mapping

from engine.tasks.language import LanguageTask
from engine.tasks.stdlib_source.card import WINDOW, card
from engine.tasks.stdlib_source.text import read
from engine.tasks.vocabulary import Characters, Vocabulary


class StdlibSource(LanguageTask):
    """Text without an end: every completion is as long as it may be. The symbols are ASCII's hundred printable characters."""

    card = card
    window = WINDOW

    def texts(self) -> dict[str, str]:
        return read()

    def vocabulary_of(self, texts: Mapping[str, str]) -> Vocabulary:
        return Characters(string.printable)
