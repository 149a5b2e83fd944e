"""The course of the outer loop: what each iteration found."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.distilled_sets.matching import Matched
from engine.method import Logs

LOWEST_RATE = 1e-4
"""The learned learning rate is kept at or above it."""
FIRST, LAST = 10, 20
"""Iterations at the start and at the end whose mean outer loss is reported."""


class OuterLoopHistory:
    """Outer loss, learned rate and start epoch of each iteration so far, (steps,) each. It has a `state_dict`, so that checkpoints hold it."""

    def __init__(self, steps: int, device: torch.device) -> None:
        self.losses, self.rates = torch.zeros(steps, device=device), torch.zeros(steps, device=device)
        self.starts = torch.zeros(steps, dtype=torch.int64, device=device)
        self.image_gradient = torch.zeros((), device=device)
        self.iterations = 0

    @torch.no_grad()
    def note(self, found: Matched, *, rate: Tensor, start: int) -> Logs:
        """Adds an iteration, and returns its terms."""
        at = self.iterations
        self.losses[at], self.rates[at], self.starts[at] = found.loss, rate, start
        self.image_gradient.copy_(found.images.norm())
        self.iterations = at + 1
        return {
            "outer_loss": found.loss,
            "inner_loss": found.inner_loss,
            "learned_rate": rate.detach().clone(),
            "image_gradient": self.image_gradient.clone(),
            "start_epoch": torch.full((), float(start), device=rate.device),
        }

    def numbers(self) -> dict[str, float | None]:
        """Mean outer loss at the start and at the end, and the norm of the pictures' last gradient. At least one iteration must have been."""
        losses = self.losses[: self.iterations]
        return {
            "outer_loss_start": float(losses[:FIRST].mean()),
            "outer_loss_end": float(losses[-LAST:].mean()),
            "image_gradient": float(self.image_gradient),
        }

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Tensors are copied into those that are here, of a shorter course into their beginning."""
        for name, value in state.items():
            if isinstance(value, Tensor):
                here = getattr(self, name)
                (here[: len(value)] if value.dim() else here).copy_(value)
            else:
                setattr(self, name, value)
