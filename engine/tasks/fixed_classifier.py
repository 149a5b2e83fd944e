"""A fixed classifier of pictures, whose next-to-last layer is a space for distances, and which says what class a sample is taken for.

Its weights come with a task, so that its hash is the same on every machine. The name must change with the weights.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.metrics.extractors import Extractor, fingerprint
from engine.seeds import seed_everything

SEED, BATCH, NOISE = 1234, 64, 0.1


class Classifier(nn.Module):
    """Logits (rows, classes) of pictures in −1…1: `head` of the activations of `body`."""

    def __init__(self, body: nn.Sequential, head: nn.Linear) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, pictures: Tensor) -> Tensor:
        """(rows, channels, height, width) → logits (rows, classes)."""
        logits: Tensor = self.head(self.body(pictures))
        return logits


Kind = TypeVar("Kind", bound=Classifier)


def with_weights(classifier: Kind, file: Path) -> Kind:
    """The classifier with the weights that came with its task, frozen."""
    classifier.load_state_dict(load_file(file))
    return classifier.eval().requires_grad_(False)


def extractor_of(classifier: Classifier, name: str) -> Extractor:
    """The activations before the last layer."""
    found = fingerprint(*classifier.state_dict().values(), text=name)
    return Extractor(name, classifier.head.in_features, found, lambda x: classifier.body(x).double())


def trained(new: Callable[[], Kind], pictures: Tensor, labels: Tensor, *, epochs: int) -> Kind:
    """The recipe: Adam at 0.002, weight decay 0.0001, batches of 64, noise of 0.1 on the pixels, seed 1234."""
    seed_everything(SEED)
    classifier = new()
    optimizer = torch.optim.Adam(classifier.parameters(), lr=2e-3, weight_decay=1e-4)
    for _ in range(epochs):
        for chosen in torch.randperm(len(pictures)).split(BATCH):
            noisy = pictures[chosen] + NOISE * torch.randn_like(pictures[chosen])
            optimizer.zero_grad()
            F.cross_entropy(classifier(noisy), labels[chosen]).backward()
            optimizer.step()
    return classifier.eval().requires_grad_(False)
