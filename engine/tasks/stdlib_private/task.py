"""The task of Python's documentation with a private half."""

from engine.tasks.stdlib_private.card import card
from engine.tasks.stdlib_private.text import PARTS
from engine.tasks.stdlib_text.task import StdlibText


class StdlibPrivate(StdlibText):
    """As stdlib-text, with the further split `private`. The vocabulary is that of the whole text, so that models fit both tasks."""

    card = card

    def texts(self) -> dict[str, str]:
        return dict(PARTS)
