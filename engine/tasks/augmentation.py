"""Other views of the same pictures, made batch by batch."""

import torch
import torch.nn.functional as F
from torch import Tensor


def jittered(pictures: Tensor, generator: torch.Generator, *, shift: int, noise: float) -> Tensor:
    """Each picture shifted by up to `shift` pixels either way, with the edge repeated, and with normal noise of std `noise`.

    (batch, channels, height, width), standardized pixels → the same shape. Rows and columns are shifted independently, all distances alike.
    """
    if shift:
        batch, _, height, width = pictures.shape
        device = pictures.device
        offset = torch.randint(0, 2 * shift + 1, (2, batch, 1), generator=generator, device=device)
        padded = F.pad(pictures, (shift,) * 4, mode="replicate")
        rows, columns = offset[0] + torch.arange(height, device=device), offset[1] + torch.arange(width, device=device)
        each = torch.arange(batch, device=device)[:, None, None]
        # Indices around the channels put those last.
        pictures = padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if noise:
        drawn = torch.randn(pictures.shape, generator=generator, device=pictures.device, dtype=pictures.dtype)
        pictures = pictures + noise * drawn
    return pictures
