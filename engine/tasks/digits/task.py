"""The digits task: scikit-learn's copy of the test part of the UCI set "Optical Recognition of Handwritten Digits"."""

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from engine.tasks.classification import ClassificationTask
from engine.tasks.digits.card import PARTS, TEST, TRAIN, VALIDATION, Options, card


class Digits(ClassificationTask):
    """1,797 pictures (1, 8, 8), pixels 0…16 divided by 16."""

    card = card
    options: Options
    parts = (TRAIN, VALIDATION, TEST)

    def pictures(self) -> tuple[Tensor, Tensor]:
        bunch = load_digits()
        pixels = torch.from_numpy(bunch.images).float().div(16).unsqueeze(1)
        return pixels, torch.from_numpy(bunch.target).long()

    def sizes(self) -> tuple[int, int, int]:
        return PARTS[self.options.parts]

    def statistics(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        if self.options.pixels == "standardized":
            return super().statistics(pixels)
        return torch.full_like(pixels[0], 0.3), torch.full_like(pixels[0], 0.37)
