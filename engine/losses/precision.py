"""Losses are computed in at least single precision, whatever the network ran in."""

import torch
from torch import Tensor


def full_precision(logits: Tensor) -> Tensor:
    """float16 and bfloat16 become float32; float32 and float64 stay. A softmax in half precision loses the small probabilities."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
