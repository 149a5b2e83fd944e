"""The task of Python's documentation with a private half."""

from collections.abc import Mapping

from engine.tasks.language import LanguageTask
from engine.tasks.stdlib_private.card import card
from engine.tasks.stdlib_private.text import PARTS
from engine.tasks.stdlib_text.card import SYMBOLS, WINDOW
from engine.tasks.stdlib_text.text import TEXT
from engine.tasks.vocabulary import Characters, Vocabulary


class StdlibPrivate(LanguageTask):
    """As stdlib-text, with the further split `private`. The vocabulary is that of the whole text, so that models fit both tasks."""

    card = card
    window = WINDOW

    def texts(self) -> dict[str, str]:
        return dict(PARTS)

    def vocabulary_of(self, texts: Mapping[str, str]) -> Vocabulary:
        return Characters.of(TEXT, SYMBOLS)
