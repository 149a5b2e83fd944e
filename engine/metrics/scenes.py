"""How close pictures and materials are to the truth."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.losses.precision import full_precision

SIGMA, REACH = 1.5, 5
"""The Gaussian window of structural similarity: its deviation, and how many pixels it reaches to each side (11 × 11)."""


def psnr(picture: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of values whose peak is 1: −10·log10 of the mean squared error; ∞ for equal ones."""
    error = float((picture.double() - truth.double()).square().mean())
    return -10 * math.log10(error) if error > 0 else math.inf


def ssim_map(pictures: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity at each pixel, (n, channels, height, width) of both → the same shape, for values whose range is 1.

    An 11 × 11 Gaussian window of deviation 1.5, zero outside the picture. Sources: Wang et al. (2004); the zeros are those of the loss of
    3D Gaussian splatting. torchmetrics mirrors pictures at their edges, which moves single pixels of a noisy photo by up to 0.12, so it gets
    them in a frame of zeros: its numbers are then those of the definition to 2e-14 in float64. Also under autocast all is computed in full
    precision: a variance is the small difference of two means of squares, of which eight bits would leave nothing.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure  # takes seconds and 100 MiB, so only who asks for it pays

    with torch.autocast(truth.device.type, enabled=False):
        ours, theirs = (F.pad(full_precision(each), (REACH,) * 4) for each in (pictures, truth))
        _, similarity = structural_similarity_index_measure(ours, theirs, data_range=1.0, sigma=SIGMA, return_full_image=True)
    return similarity[..., REACH:-REACH, REACH:-REACH]


def scale_to(values: Tensor, truth: Tensor) -> Tensor:
    """The factor of each channel that brings values (n, channels) closest to the truth in the mean square: Σ b·b_gt / Σ b², (channels,)."""
    return (values * truth).sum(dim=0) / values.square().sum(dim=0).clamp(min=1e-12)
