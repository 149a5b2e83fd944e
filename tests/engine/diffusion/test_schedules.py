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


def test_the_last_time_of_stable_diffusion_is_not_pure_noise():
    bars = schedules.alpha_bar("scaled_linear")

    assert float(bars[-1]) == pytest.approx(0.00466, abs=5e-6)
    assert float(bars[0]) == pytest.approx(1 - 0.00085)


@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "cosine"])
def test_signal_and_noise_of_a_discrete_schedule_come_back_from_its_level(kind):
    bars = schedules.alpha_bar(kind)

    sigma = schedules.sigma_of_alpha_bar(bars)

    assert torch.allclose(schedules.alpha_bar_of_sigma(sigma), bars, rtol=1e-10, atol=1e-14)
    assert bool((sigma.diff() > 0).all())


def test_the_cosine_schedule_by_hand():
    betas = schedules.betas("cosine", 4)

    f = [torch.cos(torch.tensor((t / 4 + 0.008) / 1.008 * torch.pi / 2, dtype=torch.float64)) ** 2 for t in range(5)]
    assert betas.tolist() == pytest.approx([min(float(1 - f[t + 1] / f[t]), 0.999) for t in range(4)])


def test_continuous_time_of_the_variance_preserving_process():
    t = torch.tensor([1e-5, 0.5, 1.0], dtype=torch.float64)

    assert torch.allclose(schedules.sigma_of_vp_time(t), ((0.5 * 19.9 * t**2 + 0.1 * t).exp() - 1).sqrt(), rtol=1e-9)


def test_a_share_of_noise_and_its_level_come_back_from_each_other():
    share = torch.tensor([0.02, 0.25, 0.5, 20 / 21], dtype=torch.float64)

    sigma = schedules.sigma_of_share(share)

    assert sigma.tolist() == pytest.approx([0.02 / 0.98, 1 / 3, 1.0, 20.0])
    assert torch.allclose(schedules.share_of_sigma(sigma), share, rtol=0, atol=1e-15)


def test_a_shift_of_three_turns_a_quarter_into_a_half_and_keeps_both_ends():
    share = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)

    assert schedules.shifted(share, 3.0).tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert torch.equal(schedules.shifted(share, 1.0), share)


def test_the_nearest_level_is_the_one_in_logarithm():
    table = torch.tensor([0.1, 1.0, 10.0])

    assert schedules.nearest_index(torch.tensor([0.3, 0.32, 3.0, 3.3, 10.0]), table).tolist() == [0, 1, 1, 2, 2]


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
