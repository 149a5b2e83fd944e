"""The second view of each picture that multi-level distillation compares."""

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT = 1
NOISE = 0.1


def strong_view(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture shifted by at most one pixel either way, its border filled with 0 (the mean picture), and with normal noise of std 0.1.

    (batch, channels, height, width), standardized pixels → the same shape.
    """
    batch, _, height, width = pictures.shape
    device = pictures.device
    offset = torch.randint(0, 2 * SHIFT + 1, (2, batch, 1), generator=generator, device=generator.device).to(device)
    padded = F.pad(pictures, (SHIFT,) * 4)
    rows = offset[0] + torch.arange(height, device=device)
    columns = offset[1] + torch.arange(width, device=device)
    each = torch.arange(batch, device=device)[:, None, None]
    # Indices around the channels put those last.
    shifted = padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    noise = torch.randn(pictures.shape, generator=generator, device=generator.device, dtype=pictures.dtype).to(device)
    return shifted + NOISE * noise
