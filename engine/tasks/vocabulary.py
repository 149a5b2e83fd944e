"""From text to token ids and back."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor


class Vocabulary(Protocol):
    """What turns text into ids below `size` and back. `eos_id` ends a text; None where nothing does."""

    size: int
    eos_id: int | None

    def encode(self, text: str) -> Tensor:
        """(tokens,) int64."""

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """What each id stands for."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these ids."""

    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal: equal for two that give the same ids to the same text."""


class Characters:
    """The most frequent characters of a text, and one last id for every other one, which is read back as `�`."""

    def __init__(self, characters: str) -> None:
        self.characters = characters
        self.size = len(characters) + 1
        self.eos_id: int | None = None

    @classmethod
    def of(cls, text: str, size: int) -> Self:
        """`size` − 1 characters by falling frequency in the text, ties by code point."""
        counts = Counter(text)
        return cls("".join(sorted(counts, key=lambda character: (-counts[character], character))[: size - 1]))

    def encode(self, text: str) -> Tensor:
        places = np.full(0x110000, self.size - 1, dtype=np.int64)
        places[[ord(character) for character in self.characters]] = np.arange(len(self.characters))
        return torch.from_numpy(places[np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)])

    def pieces(self, ids: Sequence[int]) -> list[str]:
        known = f"{self.characters}\N{REPLACEMENT CHARACTER}"
        return [known[each] for each in ids]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.pieces(ids))

    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(["characters", self.characters]).encode()).hexdigest()


class BytePairs:
    """A tokenizer of the library `tokenizers`."""

    def __init__(self, tokenizer: Tokenizer, *, eos: str | None = None) -> None:
        self.tokenizer = tokenizer
        self.size = tokenizer.get_vocab_size()
        self.eos_id: int | None = None if eos is None else tokenizer.token_to_id(eos)

    @classmethod
    def trained(cls, text: str, size: int, *, eos: str) -> Self:
        """Byte-level pairs merged by frequency until there are `size` tokens (Sennrich et al. 2016, arXiv:1508.07909). The same text gives
        the same tokens: pairs of equal frequency are ordered by their ids. `eos` is a token of its own wherever it stands."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[eos], initial_alphabet=sorted(alphabet), show_progress=False)
        tokenizer.train_from_iterator(text.split(eos), trainer)
        return cls(tokenizer, eos=eos)

    def encode(self, text: str) -> Tensor:
        return torch.tensor(self.tokenizer.encode(text, add_special_tokens=False).ids, dtype=torch.int64)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [self.decode([each]) for each in ids]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    def fingerprint(self) -> str:
        return hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest()
