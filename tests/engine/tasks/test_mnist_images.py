"""MNIST for generators: its rows, its extractors, and how it is judged."""

import functools

import pytest
import torch
from torch import Tensor

from engine.metrics.cards import METRICS
from engine.spec import catalog
from engine.tasks.fixed_classifier import extractor_of
from engine.tasks.mnist_images import extractor
from engine.tasks.mnist_images.card import SIGMA_DATA
from engine.tasks.mnist_images.task import MnistImages

CARD = catalog.tasks()["mnist-images"]


@functools.cache
def task() -> MnistImages:
    return MnistImages(CARD.options(samples=3500), torch.device("cpu"))


class FromData(torch.nn.Module):
    """A generator that knows the training rows by heart: it gives the one of the class asked for that is next."""

    levels, evaluations = (1.0,), 1

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def forward(self, x: Tensor, sigma: Tensor, y: Tensor | None = None) -> Tensor:
        return x

    def sample(self, noise: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        rows = task().splits["train"]
        of_class = [rows.inputs[rows.targets == digit] for digit in range(10)]
        start, self.made = self.made, self.made + len(labels)
        return torch.stack([of_class[int(label)][(start + i) // 10 % 350] for i, label in enumerate(labels)])


def test_the_rows_are_those_of_the_task_that_reads_them_with_pixels_from_white_to_ink():
    reading = catalog.load_task("mnist")(catalog.tasks()["mnist"].options(), torch.device("cpu"))

    for name, split in task().splits.items():
        pixels = reading.splits[name].inputs * reading.scale + reading.mean
        assert torch.allclose(split.inputs, 2 * pixels - 1, atol=1e-5)
        assert torch.equal(split.targets, reading.splits[name].targets)
    assert [len(split) for split in task().splits.values()] == [3500, 500, 1000]
    assert (float(task().splits["train"].inputs.min()), float(task().splits["train"].inputs.max())) == (-1.0, 1.0)


def test_the_networks_know_the_spread_of_its_pixels():
    assert float(task().splits["train"].inputs.std()) == pytest.approx(SIGMA_DATA, abs=1e-3)


def test_the_classifier_that_came_with_the_task_knows_the_digits_and_has_one_hash():
    classifier, rows = extractor.load(), task().splits["validation"]

    accuracy = (classifier(rows.inputs).argmax(dim=1) == rows.targets).double().mean()

    assert float(accuracy) >= 0.97
    assert extractor_of(classifier, extractor.NAME).hash.startswith("338c7216")
    assert extractor_of(classifier, extractor.NAME).features(rows.inputs[:5]).shape == (5, 32)


def test_training_rows_as_samples_are_judged_as_data():
    judgement = task().judge(FromData().eval(), "validation", teacher=None, final=False)

    found = judgement.metrics
    assert found["fid_mnist_pca_32"] == pytest.approx(task().floor("validation"), rel=1e-9)  # all training rows, each once
    assert found["conditional_accuracy"] > 0.99
    assert found["variance_ratio"] == pytest.approx(1, abs=0.03)
    assert found["precision"] > 0.8
    assert [row[:3] for row in judgement.tables["distances"]["cells"]] == [
        ["mnist-pca-32", task().extractors()[0].hash[:12], 32],
        ["mnist-cnn-32", "338c7216fa7a", 32],
    ]
    assert set(found) <= set(METRICS)


def test_its_pictures_are_few_enough_for_a_page():
    view = task().judge(FromData().eval(), "test", teacher=None, final=False).tables["samples"]

    [row] = view["rows"]
    assert view["columns"] == ["student", "real"]
    assert max(map(len, row["images"])) < 100_000


def test_its_networks_take_its_pictures():
    for name in CARD.architectures:
        model = task().new_model(name, {})
        x = task().splits["test"].inputs[:2]
        assert model(x, torch.ones(2), torch.tensor([0, 1])).shape == x.shape
        assert f"{sum(each.numel() for each in model.parameters()):,} weights" in CARD.architectures[name].description


def test_the_task_says_what_it_needs():
    assert (CARD.extra, CARD.kinds, CARD.teacher_method) == ("mnist", ("generator", "denoiser"), "denoising")
