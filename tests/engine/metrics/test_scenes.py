"""How close pictures and materials are to the truth, against slow versions."""

import math

import pytest
import torch
from torch import Tensor

from engine.metrics.scenes import psnr, scale_to, ssim_map


def test_a_tenth_of_error_is_twenty_decibels():
    assert psnr(torch.full((5, 3), 0.6), torch.full((5, 3), 0.5)) == pytest.approx(20.0, abs=1e-4)
    assert psnr(torch.ones(3), torch.ones(3)) == math.inf


def test_structural_similarity_is_that_of_the_definition_up_to_the_edges():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 3, 16, 18, generator=generator, dtype=torch.float64)
    pictures = (truth + 0.1 * torch.randn(truth.shape, generator=generator, dtype=torch.float64)).clamp(0, 1)

    found = ssim_map(pictures, truth)

    for row, column in ((0, 0), (0, 9), (3, 17), (8, 8), (15, 2)):
        assert torch.allclose(found[..., row, column], slow_ssim(pictures, truth, row, column), atol=1e-12)


def slow_ssim(a: Tensor, b: Tensor, row: int, column: int) -> Tensor:
    """Wang et al. (2004) at one pixel, (n, channels): moments under a Gaussian window of 11 × 11, with black around the picture."""
    weights = torch.tensor([[math.exp(-(y * y + x * x) / (2 * 1.5**2)) for x in range(-5, 6)] for y in range(-5, 6)], dtype=torch.float64)
    window = weights / weights.sum()
    near_a, near_b = (torch.nn.functional.pad(each, (5,) * 4)[..., row : row + 11, column : column + 11] for each in (a, b))
    mean_a, mean_b = ((window * near).sum(dim=(-2, -1)) for near in (near_a, near_b))
    off_a, off_b = near_a - mean_a[..., None, None], near_b - mean_b[..., None, None]
    var_a, var_b, covariance = ((window * x * y).sum(dim=(-2, -1)) for x, y in ((off_a, off_a), (off_b, off_b), (off_a, off_b)))
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


def test_structural_similarity_has_the_gradient_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    truth, pictures = (torch.rand(1, 1, 7, 6, generator=generator, dtype=torch.float64) for _ in range(2))

    assert torch.autograd.gradcheck(lambda shown: ssim_map(shown, truth), pictures.requires_grad_())


def test_structural_similarity_keeps_its_digits_where_products_are_of_half_precision():
    # Means of squares near 0.5 whose difference is 0.0025: bfloat16 tells such means apart by steps of 0.002 to 0.004.
    generator = torch.Generator().manual_seed(0)
    truth = 0.7 + 0.05 * torch.randn(1, 3, 24, 24, generator=generator)
    pictures = truth + 0.02 * torch.randn(truth.shape, generator=generator)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ssim_map(pictures, truth)

    assert found.dtype == ssim_map(pictures.bfloat16(), truth).dtype == torch.float32
    assert torch.equal(found, ssim_map(pictures, truth))


def test_the_fitted_scale_is_the_best_of_each_channel():
    values, truth = (torch.rand(20, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in (0, 1))

    best = scale_to(values, truth)

    residual = truth - values * best
    assert torch.allclose((residual * values).sum(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-12)
