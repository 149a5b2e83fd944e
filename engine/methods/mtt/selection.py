"""The best set so far, where a run keeps it instead of the last one."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine.distilled_sets.flat import FlatNetwork, fresh_weights
from engine.distilled_sets.networks import trained_on
from engine.models.synthetic_set import SyntheticSet, synthetic_set
from engine.tasks.task import Split


class BestSet(nn.Module):
    """A set, and the accuracy () that it has; −1 before there is one."""

    accuracy: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.set = synthetic_set(**config)
        self.register_buffer("accuracy", torch.full((), -1.0))

    def offer(self, candidate: SyntheticSet, accuracy: Tensor) -> None:
        """Keeps the candidate where its accuracy () is greater; of equal sets the first stays. A GPU is not waited for."""
        better = accuracy > self.accuracy
        self.accuracy.copy_(torch.where(better, accuracy, self.accuracy))
        now, kept = candidate.state_dict(), self.set.state_dict()
        self.set.load_state_dict({name: torch.where(better, now[name], kept[name]) for name in kept})


def accuracy_of(product: SyntheticSet, network: FlatNetwork, blueprint: Mapping[str, Any], rows: Split) -> Tensor:
    """Mean share () of the rows that fresh networks get right after they learned from the set alone, by the set's own recipe."""
    recipe = product.config.recipe
    right = []
    for seed in range(recipe.first_seed, recipe.first_seed + recipe.networks):
        theta = fresh_weights(blueprint, seed, product.images.device)
        images = product.images.detach()
        theta = trained_on(network, theta, images, product.labels, recipe=recipe, rate=recipe.learning_rate, seed=seed)
        right.append(share_right(network, theta, rows))
    return torch.stack(right).mean()


def share_right(network: FlatNetwork, theta: Tensor, rows: Split) -> Tensor:
    """Accuracy () of the network with the weights theta (parameters,)."""
    assert rows.targets is not None, "an accuracy is of rows with labels"
    return network.logits(theta, rows.inputs).argmax(dim=1).eq(rows.targets).float().mean()
