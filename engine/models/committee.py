"""Several classifiers as one."""

from collections.abc import Sequence

from torch import Tensor, nn

from engine.losses.divergences import averaged_log_probs


class Committee(nn.Module):
    """Several classifiers as one, whose probabilities are the weighted average of theirs."""

    def __init__(self, members: Sequence[nn.Module], weights: Sequence[float] = ()) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.weights = list(weights)

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, …) → log-probabilities (batch, classes), which are logits as well."""
        return averaged_log_probs([member(inputs) for member in self.members], 1.0, self.weights)
