"""The digits bench of generators: scikit-learn's digits as pictures in −1…1, flattened by the networks."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from engine.tasks.digit_pictures import DigitPictures
from engine.tasks.digits_images import extractor
from engine.tasks.digits_images.card import TRAIN, VALIDATION, card
from engine.tasks.fixed_classifier import Classifier
from engine.tasks.task import Split


def pictures_and_labels() -> dict[str, Split]:
    """The cut, the same for every run: (rows, 1, 8, 8) float32 in −1…1 and classes, each class with the same share in all parts."""
    bunch = load_digits()
    pictures = torch.from_numpy(bunch.images).float().div(8).sub(1).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).long()
    train, rest = train_test_split(np.arange(len(labels)), train_size=TRAIN, stratify=labels, random_state=0)
    validation, test = train_test_split(rest, train_size=VALIDATION, stratify=labels[rest], random_state=0)
    return {name: Split(pictures[rows], labels[rows]) for name, rows in (("train", train), ("validation", validation), ("test", test))}


class DigitsImages(DigitPictures):
    """The classifier's accuracy is 0.98 on validation rows."""

    card = card
    directions = ("digits-pca-20", 20)
    classifier_name = extractor.NAME
    zoom = 2

    def examples(self) -> tuple[dict[str, Split], Classifier]:
        return pictures_and_labels(), extractor.load()
