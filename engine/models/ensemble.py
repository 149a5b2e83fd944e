"""Several classifiers as one: the average of their probabilities, which is what several teachers say together."""

from collections.abc import Sequence

from torch import Tensor, nn

from engine.losses.divergences import averaged_log_probs


class Ensemble(nn.Module):
    """Several classifiers as one, whose probabilities are the weighted average of theirs.

    `weights` has one number of at least 0 for each member, with a sum of 1; without them all count the same.
    """

    def __init__(self, members: Sequence[nn.Module], weights: Sequence[float] = ()) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.weights = list(weights)

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, …) → log-probabilities (batch, classes), which are logits as well."""
        return averaged_log_probs([member(inputs) for member in self.members], 1.0, self.weights)
