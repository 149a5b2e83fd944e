"""Densities, preferences and losses of pairwise sample optimization against slow versions in float64, and the specification's invariants."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from engine.diffusion.samplers import renoise
from engine.methods.pso.losses import (
    denoising_error,
    hinge_loss,
    log_density,
    log_ratios,
    offline_logits,
    online_logits,
    pairwise_loss,
    preferences,
)
from tests.engine.methods.pso_bench import normal

SIGMA = torch.tensor([0.5, 1.0, 2.0, 4.0, 8.0], dtype=torch.float64)
SIGMA_TO = SIGMA * torch.tensor([0.9, 0.5, 0.1, 0.99, 0.3], dtype=torch.float64)


def test_renoising_is_the_published_density_of_variance_preserving_states():
    """mean √ᾱ_prev·x̂₀ and std √(1 − ᾱ_prev) at states √ᾱ·x, with x̂₀ = (x_vp − √(1 − ᾱ)·ε)/√ᾱ: equal but for a constant of the level."""
    alpha_bar, alpha_bar_to = 1 / (1 + SIGMA**2), 1 / (1 + SIGMA_TO**2)
    x, eps, after = normal(0), normal(1), normal(2)
    scale, scale_to = (each.sqrt().view(-1, 1, 1) for each in (alpha_bar, alpha_bar_to))
    published_x0 = (scale * x - (1 - alpha_bar).sqrt().view(-1, 1, 1) * eps) / scale
    published = Normal(scale_to * published_x0, (1 - alpha_bar_to).sqrt().view(-1, 1, 1)).log_prob(scale_to * after).mean(dim=(1, 2))

    mean, std = renoise(x - SIGMA.view(-1, 1, 1) * eps, sigma_to=SIGMA_TO)

    assert torch.allclose(log_density(after, mean=mean, std=std), published + alpha_bar_to.sqrt().log(), atol=1e-12)


def test_a_log_density_is_the_mean_over_dimensions_and_not_the_sum():
    x, mean = normal(0), normal(1)

    found = log_density(x, mean=mean, std=SIGMA)

    expected = torch.stack([Normal(mean[row], SIGMA[row]).log_prob(x[row]).sum() / 6 for row in range(5)])
    assert torch.allclose(found, expected, atol=1e-13)


def test_one_reward_prefers_the_better_sample_and_counts_a_tie_as_a_loss_of_the_first():
    scores = torch.tensor([[[2.0], [1.0]], [[1.0], [2.0]], [[1.0], [1.0]]])

    found = preferences(scores, several="random", generator=torch.Generator())

    assert found.tolist() == [[1, -1], [-1, 1], [-1, 1]]


def test_of_several_rewards_one_is_drawn_for_each_pair():
    scores = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]).expand(2000, 2, 2)

    found = preferences(scores, several="random", generator=torch.Generator().manual_seed(0))

    assert (found.sum(dim=1) == 0).all()
    assert 0.45 < float((found[:, 0] > 0).float().mean()) < 0.55


def test_dominance_needs_no_reward_lower_and_one_higher():
    pairs = [([1, 1], [0, 0]), ([1, 0], [0, 0]), ([0, 0], [0, 1]), ([1, 0], [0, 1]), ([1, 1], [1, 1])]
    scores = torch.tensor(pairs, dtype=torch.float64)

    found = preferences(scores, several="pareto", generator=torch.Generator())

    assert found.tolist() == [[1, -1], [1, -1], [-1, 1], [0, 0], [0, 0]]


def slow_loss(lp: Tensor, reference: Tensor, preferred: Tensor, *, beta: float, low: float, high: float) -> Tensor:
    ratio = (lp - reference).exp().clip(low, high)
    return -(beta * (preferred[:, 0] * ratio[:, 0].log() + preferred[:, 1] * ratio[:, 1].log())).sigmoid().log().mean()


def fast_loss(lp: Tensor, reference: Tensor, preferred: Tensor, *, beta: float = 2.0, low: float = 0.9, high: float = 1.1) -> Tensor:
    return pairwise_loss(online_logits(log_ratios(lp, reference, low=low, high=high), preferred), beta=beta).mean()


PREFERRED = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)


@pytest.mark.parametrize(("beta", "low", "high"), [(1.0, 0.9, 1.1), (50.0, 0.2, 5.0), (5.0, 0.05, 20.0)])
def test_the_online_loss_and_its_gradient_are_those_of_the_slow_version(beta, low, high):
    lp, reference = (0.1 * normal(0, 4, 2)).requires_grad_(), 0.1 * normal(1, 4, 2)
    other = lp.detach().clone().requires_grad_()

    found = fast_loss(lp, reference, PREFERRED, beta=beta, low=low, high=high)
    expected = slow_loss(other, reference, PREFERRED, beta=beta, low=low, high=high)
    found.backward()
    expected.backward()

    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)
    assert torch.allclose(lp.grad, other.grad, atol=1e-14)


def test_at_the_start_the_loss_is_log_2_and_pulls_winners_up_and_losers_down_by_half_of_beta():
    lp = normal(0, 4, 2).requires_grad_()

    loss = fast_loss(lp, lp.detach().clone(), PREFERRED, beta=3.0)
    loss.backward()

    assert float(loss.detach()) == pytest.approx(math.log(2), abs=1e-15)
    assert torch.allclose(lp.grad, -PREFERRED * 3.0 / 2 / 4, atol=1e-15)


def test_swapping_the_samples_with_their_preference_changes_nothing():
    lp, reference = 0.05 * normal(0, 4, 2), 0.05 * normal(1, 4, 2)

    assert torch.equal(fast_loss(lp, reference, PREFERRED), fast_loss(lp.flip(1), reference.flip(1), PREFERRED.flip(1)))


def test_a_constant_in_both_log_densities_changes_nothing():
    lp, reference = 0.05 * normal(0, 4, 2), 0.05 * normal(1, 4, 2)

    assert float(fast_loss(lp + 7, reference + 7, PREFERRED)) == pytest.approx(float(fast_loss(lp, reference, PREFERRED)), rel=1e-12)


def test_without_a_preference_the_loss_is_log_2_and_has_no_gradient():
    lp = (0.05 * normal(0, 4, 2)).requires_grad_()

    loss = fast_loss(lp, 0.05 * normal(1, 4, 2), torch.zeros(4, 2, dtype=torch.float64))
    loss.backward()

    assert float(loss.detach()) == pytest.approx(math.log(2), abs=1e-15)
    assert torch.equal(lp.grad, torch.zeros(4, 2, dtype=torch.float64))


@pytest.mark.parametrize("shift", [-0.2, 0.2])
def test_a_ratio_outside_the_clip_has_no_gradient_on_either_side(shift):
    lp = torch.zeros(1, 2, dtype=torch.float64).requires_grad_()
    reference = torch.tensor([[-shift, 0.0]], dtype=torch.float64)

    fast_loss(lp, reference, torch.tensor([[1.0, -1.0]], dtype=torch.float64)).backward()

    assert float(lp.grad[0, 0]) == 0.0
    assert float(lp.grad[0, 1]) > 0.0


def test_the_denoising_error_is_a_mean_over_dimensions_divided_by_the_noise_variance():
    x0, clean = normal(0), normal(1)

    found = denoising_error(x0, clean, sigma=SIGMA)

    assert found.tolist() == pytest.approx([float(((x0[row] - clean[row]) ** 2).mean() / SIGMA[row] ** 2) for row in range(5)], rel=1e-12)


def test_offline_logits_compare_margins_with_the_reference_and_are_zero_at_the_start():
    w, low, rw, rl = normal(0, 4, 4).square()

    found = offline_logits(w, low, reference=(rw, rl), negative_weight=0.5)
    at_start = offline_logits(w, low, reference=(w, low))

    assert torch.allclose(found, (rw - 0.5 * rl) - (w - 0.5 * low), atol=1e-15)
    assert torch.equal(at_start, torch.zeros(4, dtype=torch.float64))
    assert float(pairwise_loss(at_start, beta=5.0).mean()) == pytest.approx(math.log(2), abs=1e-15)


def test_the_hinge_knows_no_reference_and_is_zero_once_the_margin_is_one():
    w, low = torch.tensor([0.1, 2.0], dtype=torch.float64), torch.tensor([0.9, 1.0], dtype=torch.float64)

    logits = offline_logits(w, low)

    assert logits.tolist() == pytest.approx([0.8, -1.0])
    assert hinge_loss(logits, beta=5.0).tolist() == pytest.approx([0.0, 6.0])


def test_the_offline_margin_is_the_expected_log_ratio_of_the_online_one():
    """Averaged over the next states of a clean sample x₀, lp − lp_ref of density B is −(‖x₀ − x̂₀‖² − ‖x₀ − x̂₀_ref‖²)/(2·σ_to²·dims)."""
    x0, predicted, referred = (normal(seed, 1, 6).expand(200_000, 6) for seed in (0, 1, 2))
    sigma = torch.full((200_000,), 1.5, dtype=torch.float64)
    after = x0 + 1.5 * normal(3, 200_000, 6)

    ratio = log_density(after, mean=predicted, std=sigma) - log_density(after, mean=referred, std=sigma)

    margin = denoising_error(referred[:1], x0[:1], sigma=sigma[:1]) - denoising_error(predicted[:1], x0[:1], sigma=sigma[:1])
    assert float(ratio.mean()) == pytest.approx(0.5 * float(margin), abs=5 * float(ratio.std()) / math.sqrt(200_000))
