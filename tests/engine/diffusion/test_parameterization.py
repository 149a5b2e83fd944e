"""Guidance, EDM's preconditioning and its loss."""

import math

import pytest
import torch
from torch import Tensor

from engine.diffusion.denoiser import guided
from engine.diffusion.parameterization import edm_loss, edm_weight, log_normal_levels, preconditioning


def rows(seed: int, count: int = 6) -> Tensor:
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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
