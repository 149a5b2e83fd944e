"""MNIST for generators: the 5,000 pictures of the task `mnist`, in the same cut, as pictures in −1…1."""

from engine.tasks.classification import cut
from engine.tasks.digit_pictures import DigitPictures
from engine.tasks.fixed_classifier import Classifier
from engine.tasks.mnist.task import pixels_and_labels
from engine.tasks.mnist_images import extractor
from engine.tasks.mnist_images.card import TEST, TRAIN, VALIDATION, card
from engine.tasks.task import Split


def pictures_and_labels() -> dict[str, Split]:
    """The cut, the same for every run: (rows, 1, 28, 28) float32 in −1…1 and classes, each class with the same share in all parts. Raises
    DataError where the data is not installed."""
    pixels, labels = pixels_and_labels()
    parts = cut(labels, (TRAIN, VALIDATION, TEST), how="stratified", seed=0)
    return {name: Split(2 * pixels[rows] - 1, labels[rows]) for name, rows in zip(("train", "validation", "test"), parts, strict=True)}


class MnistImages(DigitPictures):
    """The classifier's accuracy is 0.97 on validation rows."""

    card = card
    directions = ("mnist-pca-32", 32)
    classifier_name = extractor.NAME
    zoom = 1

    def examples(self) -> tuple[dict[str, Split], Classifier]:
        return pictures_and_labels(), extractor.load()
