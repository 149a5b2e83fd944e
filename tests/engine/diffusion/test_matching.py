"""The parts of DMD, each against a slow version in float64."""

import math

import pytest
import torch
from torch import Tensor

from engine.diffusion import matching


def rows(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape or (4, 1, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_direction_of_each_sample_is_divided_by_its_own_mean_error():
    x, real, fake = rows(0), rows(1), rows(2)

    found, replaced = matching.direction(x, real=real, fake=fake)

    for row in range(4):
        mean = sum(abs(float(x[row, 0, i] - real[row, 0, i])) for i in range(3)) / 3
        for i in range(3):
            assert float(found[row, 0, i]) == pytest.approx(float(fake[row, 0, i] - real[row, 0, i]) / mean, rel=1e-12)
    assert replaced == 0


def test_equal_denoisers_give_no_direction_and_a_loss_of_exactly_zero():
    x = rows(0).requires_grad_()

    found, _ = matching.direction(x, real=rows(1), fake=rows(1))

    assert not found.any()
    assert matching.matching_loss(x, found).item() == 0.0


@pytest.mark.parametrize("scale", [1e-3, 7.0, 1e4])
def test_the_direction_does_not_depend_on_the_scale_of_all(scale):
    x, real, fake = rows(0), rows(1), rows(2)

    found, _ = matching.direction(x, real=real, fake=fake)
    scaled, _ = matching.direction(scale * x, real=scale * real, fake=scale * fake)

    assert torch.allclose(found, scaled, rtol=1e-12)


def test_the_gradient_in_the_sample_is_the_direction_over_the_number_of_entries_and_nothing_flows_into_it():
    x, toward = rows(0).requires_grad_(), rows(1).requires_grad_()

    matching.matching_loss(x, toward).backward()

    assert torch.allclose(x.grad, toward.detach() / 12, rtol=1e-12)
    assert toward.grad is None


def test_a_sample_that_is_the_teachers_own_prediction_is_left_alone_and_counted():
    x, fake = rows(0), rows(2)
    real = rows(1)
    real[1] = x[1]
    fake[1] = x[1]

    found, replaced = matching.direction(x, real=real, fake=fake)
    safe, none = matching.direction(x, real=real, fake=fake, eps=1e-6)

    assert not found[1].any()
    assert found.isfinite().all()
    assert float(replaced) == pytest.approx(0.25)
    assert none == 0
    assert not safe[1].any()


def test_levels_are_drawn_from_the_middle_of_the_table_with_both_ends():
    drawn = matching.drawn_indices(100_000, 1000, low=0.02, high=0.98, generator=torch.Generator().manual_seed(0))
    whole = matching.drawn_indices(100_000, 1000, generator=torch.Generator().manual_seed(0))

    assert (int(drawn.min()), int(drawn.max())) == (20, 980)
    assert (int(whole.min()), int(whole.max())) == (0, 999)


def soft(value: float) -> float:
    return math.log1p(math.exp(value))


def test_the_adversarial_losses_by_hand():
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 0.0])

    critic = matching.critic_loss(real=real, fake=fake)
    deceiving = matching.deceiving_loss(fake)

    assert critic.item() == pytest.approx((soft(0.5) + soft(0.0)) / 2 + (soft(-2.0) + soft(1.0)) / 2)
    assert deceiving.item() == pytest.approx((soft(-0.5) + soft(0.0)) / 2)


def test_a_critic_that_knows_nothing_has_twice_the_logarithm_of_two():
    assert matching.critic_loss(real=torch.zeros(3), fake=torch.zeros(3)).item() == pytest.approx(2 * math.log(2))


def test_values_are_added_to_the_bin_of_their_level_and_earlier_ones_fade():
    sums = matching.add_by_bin(torch.zeros(2, 10), torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 99, 999]), levels=1000)
    again = matching.add_by_bin(sums, torch.tensor([2.0]), torch.tensor([999]), levels=1000, keep=0.5)

    assert sums[0].tolist() == [4.0, *[0.0] * 8, 5.0]
    assert sums[1].tolist() == [2.0, *[0.0] * 8, 1.0]
    assert again[:, -1].tolist() == [4.5, 1.5]
