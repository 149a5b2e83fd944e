"""Seeds that are the same on every machine, and generators that are put back as they were found."""

import json
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.run.serializer import StateSerializer, unpack
from engine.seeds import derived_seed, global_state, restore_global_state, seed_everything, undisturbed

CPU = torch.device("cpu")
Drawn = tuple[float, float, float, float, float]


@pytest.fixture(autouse=True)
def generators_as_before() -> Iterator[None]:
    """These tests seed the process, and other tests should not see it."""
    with undisturbed(CPU):
        yield


def drawn() -> Drawn:
    """A number of each global generator; those of the normal distribution come in pairs, and the second one waits in the state."""
    return float(torch.rand(())), random.random(), random.gauss(0, 1), float(np.random.rand()), float(np.random.randn())


@pytest.mark.parametrize(
    ("parts", "seed"),
    [((0, "method"), 510620674091478798), ((7, 1, "epoch", 3), 2874088440504875194), (("digits", "samples 1"), 8582681152480103715)],
)
def test_a_derived_seed_is_the_same_number_in_every_version(parts: tuple[int | str, ...], seed: int) -> None:
    assert derived_seed(*parts) == seed


@given(st.lists(st.integers(0, 2**63) | st.text("ab/", max_size=4), max_size=4))
def test_a_derived_seed_is_one_that_every_generator_takes(parts: list[int | str]) -> None:
    seed = derived_seed(*parts)

    assert 0 <= seed < 2**63
    assert torch.Generator().manual_seed(seed).initial_seed() == seed


def test_other_parts_give_another_seed_also_where_their_digits_are_the_same_in_a_row() -> None:
    parts: list[tuple[int | str, ...]] = [(1, 23), (12, 3), (123,), (3, 12), (1, 2, 3), (), ("",), ("a", "b"), ("ab",)]

    assert len({derived_seed(*each) for each in parts}) == len(parts) - 1  # nothing at all, and an empty text, are one


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**32 + 5, 2**63 - 1])
def test_every_seed_of_a_spec_seeds_all_three_libraries(seed: int) -> None:
    seed_everything(seed)
    first = drawn()
    drawn()

    seed_everything(seed)

    assert drawn() == first
    seed_everything(seed - 1 if seed else 1)
    assert all(one != other for one, other in zip(drawn(), first, strict=True))


@pytest.mark.parametrize("before", range(3))
def test_the_generators_go_on_from_their_state_though_it_went_through_a_checkpoint(before: int) -> None:
    seed_everything(3)
    for _ in range(before):
        random.gauss(0, 1), np.random.randn(), torch.randn(())
    serializer = StateSerializer()
    packed = json.loads(json.dumps(serializer.pack(global_state(CPU), "random")))
    expected = [drawn() for _ in range(2)]

    seed_everything(99)
    restore_global_state(unpack(packed, serializer.tensors, CPU), CPU)

    assert [drawn() for _ in range(2)] == expected


def test_a_state_is_a_copy_that_later_draws_do_not_move() -> None:
    seed_everything(3)
    state = global_state(CPU)
    expected = drawn()
    drawn()

    restore_global_state(state, CPU)
    assert drawn() == expected
    restore_global_state(state, CPU)

    assert drawn() == expected


def test_what_is_drawn_inside_is_not_noticed_outside_even_after_an_error() -> None:
    seed_everything(3)
    expected = drawn()
    seed_everything(3)

    def fail_after_drawing() -> None:
        with undisturbed(CPU):
            drawn()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_drawing()

    assert drawn() == expected
