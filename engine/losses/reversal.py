"""Gradient reversal: Ganin & Lempitsky (2015), arXiv:1409.7495, equations 14 and 15."""

from torch import Tensor


def reversed_gradient(value: Tensor, strength: float) -> Tensor:
    """`value` itself, with a gradient of −strength: the same number, bit for bit, and the other direction for what is behind it."""
    return value.detach() - strength * (value - value.detach())
