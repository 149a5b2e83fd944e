"""The fixed classifier of MNIST's 28×28 digits. `python -m engine.tasks.mnist_images.extractor` trains it and writes its weights anew."""

from itertools import pairwise
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from engine.tasks import fixed_classifier
from engine.tasks.fixed_classifier import Classifier

NAME = "mnist-cnn-32"
FILE = Path(__file__).with_name("extractor.safetensors")
EPOCHS = 20


class MnistClassifier(Classifier):
    """Three convolutions with 16, 32 and 32 channels and maxima over 2×2 between them, then 288-32-10, all with ReLU, of pixels in −1…1."""

    def __init__(self) -> None:
        channels = (1, 16, 32, 32)
        parts = [
            part for before, after in pairwise(channels) for part in (nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        ]
        super().__init__(nn.Sequential(*parts, nn.Flatten(), nn.Linear(32 * 3 * 3, 32), nn.ReLU()), nn.Linear(32, 10))


def load() -> MnistClassifier:
    """The classifier that came with the task, frozen."""
    return fixed_classifier.with_weights(MnistClassifier(), FILE)


def trained(pictures: Tensor, labels: Tensor) -> MnistClassifier:
    """The recipe of `fixed_classifier`, 20 epochs."""
    return fixed_classifier.trained(MnistClassifier, pictures, labels, epochs=EPOCHS)


if __name__ == "__main__":
    from engine.tasks.mnist_images.task import pictures_and_labels

    rows = pictures_and_labels()["train"]
    assert rows.targets is not None, "every row has a class"
    save_file(trained(rows.inputs, rows.targets).state_dict(), FILE)
