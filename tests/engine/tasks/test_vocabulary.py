"""Text to ids and back, whatever characters it holds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.tasks.vocabulary import BytePairs, Characters

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
EOS = "<|end|>"
TRAINED = BytePairs.trained(f"the cat sat on the mat{EOS}the dog sat on the log{EOS}" * 5, 265, eos=EOS)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)  # surrogates are no text


def test_characters_are_ordered_by_their_number_and_equal_ones_by_code_point() -> None:
    assert Characters.of("bbb aaa ccc zz é", 7).characters == " abcz" + "é"
    assert Characters.of("ba", 3).characters == "ab"
    assert Characters.of("ab", 2).characters == "a"


@pytest.mark.parametrize("size", [2, 10])
def test_a_text_of_few_characters_has_no_more_ids_than_it_needs(size: int) -> None:
    vocabulary = Characters.of("aab", size)

    assert vocabulary.size == min(size, 3)


@given(text)
def test_known_characters_come_back_and_every_other_one_is_the_last_id(given_text: str) -> None:
    vocabulary = Characters("aé😀")

    ids = vocabulary.encode(given_text)

    assert ids.dtype == torch.int64
    assert ids.tolist() == [{"a": 0, "é": 1, "😀": 2}.get(character, 3) for character in given_text]
    assert vocabulary.decode(ids.tolist()) == "".join(each if each in "aé😀" else UNKNOWN for each in given_text)
    assert "".join(vocabulary.pieces(ids.tolist())) == vocabulary.decode(ids.tolist())


def test_a_fingerprint_is_that_of_the_characters_in_their_order() -> None:
    assert Characters("ab").fingerprint() == Characters.of("aab", 3).fingerprint()
    assert len({Characters("ab").fingerprint(), Characters("ba").fingerprint(), Characters("abc").fingerprint()}) == 3


@given(text)
def test_byte_pairs_bring_back_every_text_also_of_characters_that_they_never_saw(given_text: str) -> None:
    ids = TRAINED.encode(given_text)

    assert TRAINED.decode(ids.tolist()) == given_text
    assert bool((ids < TRAINED.size).all())


def test_the_end_of_text_is_one_token_wherever_it_stands() -> None:
    ids = TRAINED.encode(f"{EOS}the{EOS}{EOS} cat").tolist()

    assert TRAINED.eos_id is not None
    assert ids.count(TRAINED.eos_id) == 3
    assert TRAINED.pieces([TRAINED.eos_id]) == [EOS]
    assert TRAINED.decode(ids) == f"{EOS}the{EOS}{EOS} cat"


def test_nothing_is_put_before_or_after_a_text() -> None:
    assert TRAINED.encode("").tolist() == []
    assert TRAINED.encode("the").tolist() + TRAINED.encode(" cat").tolist() == TRAINED.encode("the cat").tolist()


def test_frequent_pairs_have_become_one_token() -> None:
    assert TRAINED.size == 265
    assert len(TRAINED.encode(" the sat on")) < 11
