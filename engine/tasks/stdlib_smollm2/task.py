"""The task of Python's documentation in SmolLM2's tokens."""

from collections.abc import Mapping

from engine.errors import DataError, ModelError
from engine.models.language import open_tokenizer
from engine.tasks.language import LanguageTask
from engine.tasks.stdlib_smollm2.card import MODEL, WINDOW, card
from engine.tasks.stdlib_text.text import PARTS
from engine.tasks.vocabulary import BytePairs, Vocabulary


class StdlibSmollm2(LanguageTask):
    """Text without an end, in the same three parts as `stdlib-text`."""

    card = card
    window = WINDOW

    def texts(self) -> dict[str, str]:
        return dict(PARTS)

    def vocabulary_of(self, texts: Mapping[str, str]) -> Vocabulary:
        try:
            return BytePairs(open_tokenizer(MODEL))
        except ModelError as error:
            raise DataError(str(error)) from None
