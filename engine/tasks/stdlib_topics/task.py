"""The task of Python's documentation by chapter."""

import torch
from tokenizers import Tokenizer
from torch import Tensor

from engine.models.encoders import PADDING
from engine.tasks.classification import LabeledTask, cut, noisy
from engine.tasks.stdlib_text.text import TEXT
from engine.tasks.stdlib_topics.card import TEST, TRAIN, VALIDATION, WORDS, Options, card
from engine.tasks.stdlib_topics.text import AREAS, read
from engine.tasks.task import Split
from engine.tasks.vocabulary import BytePairs

FILLER = "<pad>"


class StdlibTopics(LabeledTask):
    """A row is a passage's first words, (length,) int64, filled up with PADDING; its label is the place of its area in AREAS."""

    card = card
    options: Options

    def words(self) -> Tokenizer:
        """What turns a passage into word ids, 0 being padding. These byte pairs are learned from all of the documentation, without its
        labels, so that models fit every cut. Raises DataError."""
        return BytePairs.trained(TEXT, WORDS, eos=FILLER).tokenizer

    def load(self) -> dict[str, Split]:
        """Cut, then limited, then spoiled."""
        passages = read()
        labels = torch.tensor([passage.area for passage in passages])
        ids = ids_of([passage.text for passage in passages], self.words(), length=self.card.input_shape[0])
        train, validation, test = cut(labels, (TRAIN, VALIDATION, TEST), how=self.options.split, seed=self.options.split_seed)
        train = train[: self.options.train_limit]
        rows = {"train": train, "validation": validation, "test": test}
        self._texts: dict[str, list[str]] = {split: [passages[row].text for row in each.tolist()] for split, each in rows.items()}
        targets = {split: labels[each] for split, each in rows.items()}
        targets["train"] = noisy(targets["train"], share=self.options.label_noise, classes=len(AREAS), seed=self.options.label_noise_seed)
        return {split: Split(ids[each], targets[split]) for split, each in rows.items()}

    def text(self, split: str, row: int) -> str:
        return self._texts[split][row]


def ids_of(texts: list[str], tokenizer: Tokenizer, *, length: int) -> Tensor:
    """(texts, length) int64: each text's words, cut off or filled up with PADDING at the end."""
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=PADDING)
    return torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(texts)])
