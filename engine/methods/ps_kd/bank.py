"""The memory of past predictions: one row of probabilities for each row of the data set, by its position there."""

import torch
from torch import Tensor, nn


class TargetBank(nn.Module):
    """A (rows, classes) of probabilities, whose rows sum to 1. It begins as the one-hot labels, so the first epoch trains on those alone.

    With `top_k` only a row's k largest probabilities are kept, and what they leave of 1 is spread evenly over the other classes: an
    approximation that needs rows·k numbers and as many class numbers in place of rows·classes.
    """

    values: Tensor
    classes_of: Tensor

    def __init__(self, labels: Tensor, classes: int, *, dtype: torch.dtype, top_k: int | None = None) -> None:
        super().__init__()
        self.classes = classes
        self.top_k = None if top_k is None or top_k >= classes else top_k
        one_hot = nn.functional.one_hot(labels, classes).to(dtype)
        values, chosen = (one_hot, torch.empty(0, dtype=torch.int64)) if self.top_k is None else one_hot.topk(self.top_k, dim=-1)
        self.register_buffer("values", values)
        self.register_buffer("classes_of", chosen)

    def read(self, index: Tensor) -> Tensor:
        """The rows `index` (batch,) → (batch, classes)."""
        values = self.values[index]
        if self.top_k is None:
            return values
        rest = (1 - values.sum(dim=-1, keepdim=True)).clamp(min=0) / (self.classes - self.top_k)
        return rest.expand(-1, self.classes).scatter(1, self.classes_of[index], values)

    def write(self, index: Tensor, probs: Tensor) -> None:
        """Replaces the rows `index` (batch,) by `probs` (batch, classes)."""
        probs = probs.detach().to(self.values.dtype)
        if self.top_k is None:
            self.values[index] = probs
        else:
            self.values[index], self.classes_of[index] = probs.topk(self.top_k, dim=-1)

    def all(self) -> Tensor:
        """(rows, classes)."""
        return self.read(torch.arange(len(self.values), device=self.values.device))
