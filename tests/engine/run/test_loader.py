"""Which rows a step gets: a function of seed, phase and step alone, shared out among devices so that their mean is the batch's."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.method import Batch, BatchSource, Phase, Position
from engine.run.loader import Loader
from engine.run.process_group import ProcessGroup
from engine.tasks.task import Split

CPU = torch.device("cpu")


def splits(rows: int = 20) -> dict[str, Split]:
    """Rows that hold their own number, and the validation's apart from the training's by their sign."""
    numbers = torch.arange(float(rows))[:, None]
    return {"train": Split(numbers, numbers[:, 0].long()), "validation": Split(-numbers, None)}


def loader(
    data: str | BatchSource | None = "train", *, seed: int = 0, index: int = 0, rank: int = 0, size: int = 1, **options: Any
) -> Loader:
    phase = Phase("any", lambda batch: {}, options.pop("steps", 12), data, shuffle=options.pop("shuffle", True))
    given = {"splits": splits(options.pop("rows", 20)), "batch_size": options.pop("batch_size", 8), **options}
    return Loader(phase, index, seed=seed, device=CPU, process_group=ProcessGroup(rank, size), **given)


def rows_of(one: Loader, step: int) -> list[int]:
    return one.batch(Position(phase_step=step)).index.tolist()


@given(rows=st.integers(1, 23), batch_size=st.integers(1, 9), size=st.integers(2, 5))
def test_the_mean_over_devices_of_what_each_has_is_the_mean_over_the_batch(rows: int, batch_size: int, size: int) -> None:
    alone = loader(rows=rows, batch_size=batch_size)
    devices = [loader(rows=rows, batch_size=batch_size, rank=rank, size=size) for rank in range(size)]

    for step in range(alone.steps_per_epoch):
        whole = alone.batch(Position(phase_step=step)).inputs.mean()
        shares = [one.batch(Position(phase_step=step)).inputs.mean() * one.share for one in devices]
        assert float(sum(shares)) / size == pytest.approx(float(whole), abs=1e-4)


def test_each_row_goes_to_one_device_unless_there_are_too_few_to_go_round() -> None:
    devices = [loader(rank=rank, size=5) for rank in range(5)]

    first, last = ([rows_of(one, step) for one in devices] for step in (0, 2))

    assert sorted(row for rows in first for row in rows) == sorted(rows_of(loader(), 0))
    assert [len(rows) for rows in first] == [2, 2, 2, 1, 1]
    assert last == [rows_of(loader(), 2)] * 5


def test_an_order_belongs_to_its_seed_its_phase_and_its_epoch() -> None:
    orders = [
        tuple(row for step in range(3) for row in rows_of(loader(seed=seed, index=index), 3 * epoch + step))
        for seed in (0, 1)
        for index in (0, 1)
        for epoch in (0, 1)
    ]

    assert len(set(orders)) == 8
    assert all(sorted(order) == list(range(20)) for order in orders)


def test_a_loader_that_begins_in_the_middle_gives_what_one_from_the_start_gives() -> None:
    through, position = loader(), Position()
    for position.phase_step in range(8):
        expected = through.batch(position).index.tolist()

    begun = Position(phase_step=7)

    assert loader().batch(begun).index.tolist() == expected
    assert (begun.epoch, begun.step_in_epoch) == (position.epoch, position.step_in_epoch) == (2, 1)


def test_the_rows_in_their_own_order_are_the_same_in_every_epoch() -> None:
    one = loader(shuffle=False)

    assert [rows_of(one, step) for step in range(3)] == [list(range(8)), list(range(8, 16)), list(range(16, 20))]
    assert rows_of(one, 3) == rows_of(one, 0)


def drawn(step: int, generator: torch.Generator) -> Batch:
    return Batch(torch.rand(3, generator=generator), None, torch.full((3,), step))


def test_a_source_draws_anew_at_each_step_of_each_device_and_the_same_again_after_a_resume() -> None:
    places = [(0, 0, 0, 4), (0, 0, 0, 5), (1, 0, 0, 4), (0, 1, 0, 4), (0, 0, 1, 4)]

    def numbers(seed: int, index: int, rank: int, step: int) -> list[float]:
        return loader(drawn, seed=seed, index=index, rank=rank, size=2).batch(Position(phase_step=step)).inputs.tolist()

    assert len({tuple(numbers(*place)) for place in places}) == len(places)
    again = loader(drawn, size=2)
    again.batch(Position(phase_step=3))
    assert again.batch(Position(phase_step=4)).inputs.tolist() == numbers(*places[0])


def test_a_source_is_told_the_step_and_its_phase_is_one_epoch() -> None:
    position = Position(phase_step=11)

    batch = loader(drawn).batch(position)

    assert batch.index.tolist() == [11] * 3
    assert (position.epoch, position.step_in_epoch) == (0, 11)


@pytest.mark.parametrize(("data", "seen"), [("train", 1), ("validation", 0), (drawn, 0)])
def test_only_training_rows_go_through_the_tasks_augmentation(data: str | BatchSource, seen: int) -> None:
    asked = []

    def augment(inputs: Tensor, generator: torch.Generator) -> Tensor:
        asked.append(float(torch.rand((), generator=generator)))
        return inputs + 100

    batch = loader(data, augment=augment).batch(Position())

    assert len(asked) == seen
    assert bool((batch.inputs >= 100).all()) == bool(seen)


def test_two_devices_augment_differently_and_a_device_the_same_again() -> None:
    def augment(inputs: Tensor, generator: torch.Generator) -> Tensor:
        return torch.rand(1, generator=generator)

    def number(rank: int, step: int) -> float:
        return float(loader(augment=augment, rank=rank, size=2).batch(Position(phase_step=step)).inputs)

    assert number(0, 3) == number(0, 3)
    assert len({number(0, 3), number(1, 3), number(0, 4)}) == 3


@pytest.mark.parametrize("steps", [0, 5])
def test_a_phase_without_data_gets_no_row_at_each_step(steps: int) -> None:
    one, position = loader(None, steps=steps), Position(phase_step=max(0, steps - 1))

    batch = one.batch(position)

    assert len(batch) == len(batch.inputs) == 0
    assert batch.targets is None
    assert one.steps_per_epoch == max(1, steps)
