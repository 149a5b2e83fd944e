"""The fixed classifier of the 8×8 digits. `python -m engine.tasks.digits_images.extractor` trains it and writes its weights anew."""

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from engine.tasks import fixed_classifier
from engine.tasks.fixed_classifier import Classifier

NAME = "digits-mlp-24"
FILE = Path(__file__).with_name("extractor.safetensors")
EPOCHS = 40


class DigitClassifier(Classifier):
    """64-64-24-10 with ReLU, of pixels in −1…1."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 24), nn.ReLU()), nn.Linear(24, 10))


def load() -> DigitClassifier:
    """The classifier that came with the task, frozen."""
    return fixed_classifier.with_weights(DigitClassifier(), FILE)


def trained(pictures: Tensor, labels: Tensor) -> DigitClassifier:
    """The recipe of `fixed_classifier`, 40 epochs."""
    return fixed_classifier.trained(DigitClassifier, pictures, labels, epochs=EPOCHS)


if __name__ == "__main__":
    from engine.tasks.digits_images.task import pictures_and_labels

    rows = pictures_and_labels()["train"]
    assert rows.targets is not None, "every row has a class"
    save_file(trained(rows.inputs, rows.targets).state_dict(), FILE)
