"""How close pictures and materials are to the truth."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.losses.precision import full_precision

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2


def psnr(picture: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of values whose peak is 1: −10·log10 of the mean squared error; ∞ for equal ones."""
    error = float((picture.double() - truth.double()).square().mean())
    return -10 * math.log10(error) if error > 0 else math.inf


def ssim_map(pictures: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity at each pixel, (n, channels, height, width) of both → the same shape, for values whose range is 1.

    An 11 × 11 Gaussian window of deviation 1.5, zero outside the picture. Source: Wang et al. (2004). Also under autocast all is computed in
    full precision: a variance is the small difference of two means of squares, of which eight bits would leave nothing.
    """
    with torch.autocast(truth.device.type, enabled=False):
        return _ssim_map(full_precision(pictures), full_precision(truth))


def _ssim_map(pictures: Tensor, truth: Tensor) -> Tensor:
    at = torch.arange(WINDOW, device=truth.device, dtype=truth.dtype) - WINDOW // 2
    line = torch.exp(-at.square() / (2 * SIGMA**2))
    line = line / line.sum()

    def mean(values: Tensor) -> Tensor:
        planes = F.conv2d(values.flatten(0, 1)[:, None], line.view(1, 1, -1, 1), padding=(WINDOW // 2, 0))
        return F.conv2d(planes, line.view(1, 1, 1, -1), padding=(0, WINDOW // 2)).view(values.shape)

    mean_a, mean_b = mean(pictures), mean(truth)
    variance_a = mean(pictures.square()) - mean_a.square()
    variance_b = mean(truth.square()) - mean_b.square()
    covariance = mean(pictures * truth) - mean_a * mean_b
    return ((2 * mean_a * mean_b + C1) * (2 * covariance + C2)) / (
        (mean_a.square() + mean_b.square() + C1) * (variance_a + variance_b + C2)
    )


def scale_to(values: Tensor, truth: Tensor) -> Tensor:
    """The factor of each channel that brings values (n, channels) closest to the truth in the mean square: Σ b·b_gt / Σ b², (channels,)."""
    return (values * truth).sum(dim=0) / values.square().sum(dim=0).clamp(min=1e-12)
