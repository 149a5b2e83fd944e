"""The task of Python's documentation by chapter in the words of all-MiniLM-L6-v2."""

from collections.abc import Mapping
from typing import Any, cast

from tokenizers import Tokenizer
from torch import nn

from engine.errors import DataError, ModelError
from engine.models.encoders import begin_as, open_words
from engine.tasks.stdlib_topics.task import StdlibTopics
from engine.tasks.stdlib_topics_minilm.card import MODEL, card


class StdlibTopicsMinilm(StdlibTopics):
    """The rows of `stdlib-topics` in other words. Networks that the card calls pretrained begin as that model."""

    card = card

    def words(self) -> Tokenizer:
        """MiniLM's pieces of words, between its marks of beginning and end."""
        try:
            return open_words(MODEL)
        except ModelError as error:
            raise DataError(str(error)) from None

    def new_model(self, architecture: str, config: Mapping[str, Any]) -> nn.Module:
        network = super().new_model(architecture, config)
        if (pretrained := self.card.architectures[architecture].pretrained) is not None:
            begin_as(cast(nn.Sequential, network), pretrained)
        return network
