"""Every kind of prediction says the same clean example, and a foreign network behaves as the EDM denoiser that it stands for."""

import math

import pytest
import torch
from torch import Tensor

from engine.diffusion.denoiser import guided
from engine.diffusion.parameterization import (
    edm_loss,
    edm_weight,
    flow_denoiser,
    from_x0,
    log_normal_levels,
    preconditioning,
    to_x0,
    vp_denoiser,
)
from engine.diffusion.schedules import alpha_bar, sigma_of_alpha_bar

PREDICTIONS = ["eps", "x0", "v", "flow", "score"]
M, V = 0.7, 0.3  # a Gaussian whose denoiser is known


def rows(seed: int, count: int = 6) -> Tensor:
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ideal(x: Tensor, sigma: Tensor, y: Tensor | None) -> Tensor:
    """E[x0 | x] for x0 ~ N(M, V)."""
    noise = sigma[:, None] ** 2
    return (V * x + noise * M) / (V + noise)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("alpha", "sigma"), [(0.8, 0.6), (0.3, 0.7), (1.0, 5.0)])
def test_what_a_network_says_and_the_clean_example_are_turned_into_each_other(prediction, alpha, sigma):
    x0, x_t = rows(0), rows(1)
    a, s = torch.tensor(alpha, dtype=torch.float64), torch.tensor(sigma, dtype=torch.float64)

    value = from_x0(prediction, x0, x_t, a, s)

    assert torch.allclose(to_x0(prediction, value, x_t, a, s), x0, rtol=0, atol=1e-12)


def test_the_targets_of_each_prediction_are_those_of_the_table():
    x0, eps = rows(0), rows(1)
    alpha, sigma = torch.tensor(0.6, dtype=torch.float64), torch.tensor(0.8, dtype=torch.float64)
    x_t = alpha * x0 + sigma * eps

    targets = {name: from_x0(name, x0, x_t, alpha, sigma) for name in PREDICTIONS}

    assert torch.allclose(targets["eps"], eps, atol=1e-13)
    assert torch.allclose(targets["v"], 0.6 * eps - 0.8 * x0, atol=1e-13)
    assert torch.allclose(targets["flow"], eps - x0, atol=1e-13)
    assert torch.allclose(targets["score"], -eps / 0.8, atol=1e-13)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_variance_preserving_network_is_the_denoiser_that_it_was_made_of(prediction):
    bars = alpha_bar("scaled_linear")

    def predict(x_t: Tensor, times: Tensor, y: Tensor | None) -> Tensor:
        alpha, sigma = bars[times].sqrt()[:, None], (1 - bars[times]).sqrt()[:, None]
        return from_x0(prediction, ideal(x_t / alpha, sigma_of_alpha_bar(bars[times]), y), x_t, alpha, sigma)

    sigma = sigma_of_alpha_bar(bars[torch.tensor([3, 200, 400, 650, 900, 999])])
    x = rows(2)

    assert torch.allclose(vp_denoiser(predict, prediction, bars)(x, sigma, None), ideal(x, sigma, None), rtol=0, atol=1e-12)


def test_a_flow_network_is_the_denoiser_that_it_was_made_of():
    def predict(x_t: Tensor, times: Tensor, y: Tensor | None) -> Tensor:
        share = times[:, None]
        return from_x0("flow", ideal(x_t / (1 - share), times / (1 - times), y), x_t, 1 - share, share)

    sigma, x = torch.tensor([0.02, 0.5, 1.0, 3.0, 20.0, 80.0], dtype=torch.float64), rows(3)

    assert torch.allclose(flow_denoiser(predict)(x, sigma, None), ideal(x, sigma, None), rtol=0, atol=1e-12)


def test_guidance_mixes_the_predictions_with_and_without_a_class_and_at_one_asks_only_once():
    calls = []

    def denoise(x: Tensor, sigma: Tensor, y: Tensor | None) -> Tensor:
        calls.append(y is None)
        return x * 0 + (1.0 if y is None else 3.0)

    x, sigma, y = rows(0), torch.ones(6, dtype=torch.float64), torch.zeros(6, dtype=torch.int64)

    values = {w: float(guided(denoise, w)(x, sigma, y)[0, 0]) for w in (0.0, 1.0, 2.5)}

    assert values == {0.0: 1.0, 1.0: 3.0, 2.5: 1.0 + 2.5 * 2.0}
    assert calls.count(True) == 2


def test_the_weight_of_the_loss_is_that_of_the_inner_network_alone():
    sigma = torch.tensor([0.002, 0.5, 80.0], dtype=torch.float64)

    skip, out, into, level = preconditioning(sigma, 0.5)

    assert torch.allclose(edm_weight(sigma, 0.5), 1 / out**2, rtol=1e-13)
    assert torch.allclose(skip, 0.25 / (sigma**2 + 0.25), rtol=1e-13)
    assert torch.allclose(into, (sigma**2 + 0.25) ** -0.5, rtol=1e-13)
    assert level.tolist() == pytest.approx([math.log(s) / 4 for s in (0.002, 0.5, 80.0)])


def test_the_loss_of_one_row_by_hand():
    loss = edm_loss(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([0.5]), 0.25)

    assert loss.tolist() == pytest.approx([(4 + 16) * (1 + 4) / 2])


def test_drawn_levels_have_the_mean_and_spread_of_their_logarithm_and_stay_within_bounds():
    drawn = log_normal_levels(20_000, mean=-0.6, std=1.4, low=1e-6, high=1e6, generator=torch.Generator().manual_seed(0)).log()
    held = log_normal_levels(2_000, mean=-0.6, std=1.4, low=0.3, high=0.9, generator=torch.Generator().manual_seed(0))

    assert float(drawn.mean()) == pytest.approx(-0.6, abs=0.05)
    assert float(drawn.std()) == pytest.approx(1.4, abs=0.05)
    assert (float(held.min()), float(held.max())) == pytest.approx((0.3, 0.9))
