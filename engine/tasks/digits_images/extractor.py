"""A fixed classifier of the 8×8 digits, whose next-to-last layer is a space for distances.

Its weights come with the task, so that its hash is the same on every machine. `python -m engine.tasks.digits_images.extractor` trains and
writes them anew; the name must change with them.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.metrics.extractors import Extractor, fingerprint
from engine.seeds import seed_everything

NAME = "digits-mlp-24"
FILE = Path(__file__).with_name("extractor.safetensors")
SEED, EPOCHS, BATCH, NOISE = 1234, 40, 64, 0.1


class DigitClassifier(nn.Module):
    """64-64-24-10 with ReLU, of pixels in −1…1."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 24), nn.ReLU())
        self.head = nn.Linear(24, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        """(rows, 1, 8, 8) → logits (rows, 10)."""
        logits: Tensor = self.head(self.body(pictures))
        return logits


def load() -> DigitClassifier:
    """The classifier that came with the task, frozen."""
    classifier = DigitClassifier()
    classifier.load_state_dict(load_file(FILE))
    return classifier.eval().requires_grad_(False)


def extractor_of(classifier: DigitClassifier) -> Extractor:
    """The 24 activations before the last layer."""
    found = fingerprint(*classifier.state_dict().values(), text=NAME)
    return Extractor(NAME, 24, found, lambda x: classifier.body(x).double())


def trained(pictures: Tensor, labels: Tensor) -> DigitClassifier:
    """The recipe: Adam at 0.002, weight decay 0.0001, 40 epochs, batches of 64, noise of 0.1 on the pixels, seed 1234."""
    seed_everything(SEED)
    classifier = DigitClassifier()
    optimizer = torch.optim.Adam(classifier.parameters(), lr=2e-3, weight_decay=1e-4)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(pictures)).split(BATCH):
            noisy = pictures[chosen] + NOISE * torch.randn_like(pictures[chosen])
            optimizer.zero_grad()
            F.cross_entropy(classifier(noisy), labels[chosen]).backward()
            optimizer.step()
    return classifier.eval().requires_grad_(False)


if __name__ == "__main__":
    from engine.tasks.digits_images.task import pictures_and_labels

    rows = pictures_and_labels()["train"]
    assert rows.targets is not None
    save_file(trained(rows.inputs, rows.targets).state_dict(), FILE)
