"""Levels where the papers have them, and the maps between a schedule's own time and σ."""

import pytest
import torch

from engine.diffusion import schedules
from engine.diffusion.levels import level_problem


def test_the_grid_descends_from_the_highest_level_to_the_lowest_and_is_even_in_the_seventh_root():
    grid = schedules.karras_grid(18, 0.002, 80.0)

    assert grid[[0, -1]].tolist() == pytest.approx([80.0, 0.002])
    steps = (grid ** (1 / 7)).diff()
    assert torch.allclose(steps, steps[0].expand(17), rtol=0, atol=1e-12)
    assert steps[0] < 0


def test_a_grid_of_one_level_is_the_highest_one():
    assert schedules.karras_grid(1, 0.02, 20.0).tolist() == [20.0]


def test_the_table_is_the_grid_with_its_cleanest_level_first():
    table = schedules.karras_table(0.02, 20.0)

    assert len(table) == 1000
    assert table[[0, -1]].tolist() == pytest.approx([0.02, 20.0])
    assert bool((table.diff() > 0).all())


def test_a_share_of_noise_and_its_level_come_back_from_each_other():
    share = torch.tensor([0.02, 0.25, 0.5, 20 / 21], dtype=torch.float64)

    sigma = schedules.sigma_of_share(share)

    assert sigma.tolist() == pytest.approx([0.02 / 0.98, 1 / 3, 1.0, 20.0])
    assert torch.allclose(schedules.share_of_sigma(sigma), share, rtol=0, atol=1e-15)


def test_a_shift_of_three_turns_a_quarter_into_a_half_and_keeps_both_ends():
    share = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)

    assert schedules.shifted(share, 3.0).tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert torch.equal(schedules.shifted(share, 1.0), share)


def test_the_geometric_grid_has_equal_ratios():
    grid = schedules.geometric_grid(5, 0.01, 100.0)

    assert grid.tolist() == pytest.approx([0.01, 0.1, 1.0, 10.0, 100.0])


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [
        ([], "must hold at least one noise level; got []."),
        ([1.0, 1.0], "must be positive and descend; got [1.0, 1.0]."),
        ([1.0, 2.0], "must be positive and descend; got [1.0, 2.0]."),
        ([1.0, 0.0], "must be positive and descend; got [1.0, 0.0]."),
        ([20.0, 1.0], None),
    ],
)
def test_levels_of_a_generator_are_at_least_one_and_descend(levels, sentence):
    assert level_problem(levels) == sentence
