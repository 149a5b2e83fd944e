"""The digits bench: its rows, its extractors, and what judging a model of it says."""

import dataclasses
import functools
import json
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from engine.events import Evaluation
from engine.metrics.cards import METRICS
from engine.models.denoisers import EdmMlp
from engine.spec import catalog
from engine.tasks.digit_pictures import grid
from engine.tasks.digits_images import extractor, protocol
from engine.tasks.digits_images.task import DigitsImages
from engine.tasks.fixed_classifier import extractor_of
from engine.tasks.generation import GenerationTask

CARD = catalog.tasks()["digits-images"]


@functools.cache
def task(samples: int = 100) -> DigitsImages:
    return DigitsImages(CARD.options(samples=samples), torch.device("cpu"))


def network(levels: tuple[float, ...] = (20.0,)) -> EdmMlp:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = task().new_model("edm-mlp", {"width": 16, "blocks": 1, "levels": list(levels), "sampler_steps": 2})
    torch.nn.init.normal_(model.leave.weight, std=0.1, generator=torch.Generator().manual_seed(1))
    return model.eval()


class FromData(torch.nn.Module):
    """A generator that knows the training rows by heart: it gives the one of the class asked for that is next."""

    levels = (1.0,)
    evaluations = 1

    def __init__(self, break_after: int | None = None) -> None:
        super().__init__()
        self.break_after = break_after

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        return x

    def sample(self, noise: torch.Tensor, labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        rows = task().splits["train"]
        of_class = {digit: rows.inputs[rows.targets == digit] for digit in range(10)}
        made = torch.stack([of_class[int(label)][i // 10 % len(of_class[int(label)])] for i, label in enumerate(labels)])
        if self.break_after is not None:
            made[self.break_after] = torch.nan
        return made


def test_the_rows_are_those_of_the_bench_and_no_row_is_in_two_parts():
    splits = task().splits
    pictures = load_digits().images.reshape(1797, 64)

    everything = torch.cat([split.inputs.flatten(1) for split in splits.values()])

    assert [len(split) for split in splits.values()] == [1197, 300, 300]
    assert np.array_equal(np.sort((everything.numpy() + 1) * 8, axis=0), np.sort(pictures, axis=0))
    assert float(splits["train"].inputs.std()) == pytest.approx(0.752, abs=5e-4)
    for split in splits.values():
        shares = torch.bincount(split.targets).double() / len(split)
        assert (shares - 0.1).abs().max() < 0.01


def test_the_floors_are_those_of_the_specification():
    assert task().floor("validation") == pytest.approx(0.18, abs=5e-3)
    assert task().floor("test") == pytest.approx(0.28, abs=5e-3)


def test_the_classifier_that_came_with_the_task_knows_the_digits_and_has_one_hash():
    classifier, rows = extractor.load(), task().splits["validation"]

    accuracy = (classifier(rows.inputs).argmax(dim=1) == rows.targets).double().mean()

    assert float(accuracy) >= 0.98
    assert extractor_of(classifier, extractor.NAME).hash.startswith("48ad0dc0")
    assert extractor_of(classifier, extractor.NAME).features(rows.inputs).shape == (300, 24)


def test_its_recipe_makes_a_classifier_as_good():
    rows = task().splits["train"]

    with torch.random.fork_rng():
        again = extractor.trained(rows.inputs, rows.targets)

    held = task().splits["validation"]
    assert float((again(held.inputs).argmax(dim=1) == held.targets).double().mean()) >= 0.96


def test_training_rows_as_samples_are_judged_as_data():
    judged = task(1000).judge(FromData().eval(), "validation", teacher=None, final=False).metrics

    assert judged["fid_digits_pca_20"] == pytest.approx(task().floor("validation"), abs=0.15)
    assert judged["conditional_accuracy"] > 0.98
    assert judged["diversity"] == pytest.approx(4.04, abs=0.1)
    assert judged["variance_ratio"] == pytest.approx(1, abs=0.02)
    assert judged["coverage"] > 0.9
    assert judged["precision"] > 0.9


def test_the_same_noise_is_used_every_time_and_classes_come_in_turn():
    noise, labels = task().noise_and_labels(30)
    more, _ = task(1000).noise_and_labels(50)
    model = network((20.0, 1.0))

    first, second = (task().judge(model, "test", teacher=None, final=False).metrics for _ in range(2))

    assert torch.equal(noise, more[:30])
    assert labels.tolist() == list(range(10)) * 3
    assert first == second


def test_judging_draws_from_no_generator_of_the_run_and_leaves_the_mode():
    model, before = network().train(), torch.get_rng_state()

    task().judge(model, "validation", teacher=None, final=True)

    assert torch.equal(torch.get_rng_state(), before)
    assert model.training


def test_the_final_evaluation_adds_what_a_sample_costs():
    watched = task().judge(network((20.0, 1.0)), "test", teacher=None, final=False).metrics
    final = task().judge(network((20.0, 1.0)), "test", teacher=None, final=True).metrics
    one = task().judge(network(), "test", teacher=None, final=True).metrics

    assert set(final) - set(watched) == {"parameters", "flops", "sample_ms"}
    assert (final["evaluations"], one["evaluations"]) == (2.0, 1.0)
    assert final["flops"] == 2 * one["flops"] > 0
    assert {name: final[name] for name in watched} == watched


def test_every_number_has_a_card():
    judged = task().judge(network(), "test", teacher=network(()), final=True).metrics

    assert [name for name in judged if name not in METRICS] == []


def test_a_sample_that_is_not_finite_leaves_all_distances_undefined_and_is_no_error():
    judged = task().judge(FromData(break_after=7).eval(), "validation", teacher=None, final=False)

    assert set(judged.metrics) == {"evaluations"}
    assert judged.tables == {}


def test_the_tables_are_small_and_name_their_extractors_with_hash_and_floor():
    tables = task(1500).judge(network(), "validation", teacher=network(()), final=False).tables

    rows = tables["distances"]["cells"]
    assert [row[0] for row in rows] == ["digits-pca-20", "digits-mlp-24"]
    assert all(len(row[1]) == 12 and row[3] == 1500 and row[4] == 300 for row in rows)
    assert rows[0][6] == pytest.approx(task().floor("validation"))
    assert tables["samples"]["columns"] == ["student", "teacher", "real"]
    assert len(json.dumps(tables)) < 100_000


def test_what_depends_on_the_real_rows_alone_is_found_at_the_first_evaluation():
    ours, seen = DigitsImages(CARD.options(samples=100), torch.device("cpu")), []
    real = ours.splits["validation"].inputs
    known = ours.extractors()
    counted = [dataclasses.replace(each, features=lambda x, each=each: (seen.append(x is real), each.features(x))[1]) for each in known]
    ours.extractors = lambda: counted

    first = ours.judge(network(), "validation", teacher=None, final=False).metrics
    at_first = seen.count(True)
    again = ours.judge(network(), "validation", teacher=None, final=False).metrics

    assert (at_first, seen.count(True)) == (2, 2)
    assert again == first


def test_the_grid_has_a_row_for_each_class_and_ink_is_dark():
    pictures = torch.full((20, 1, 8, 8), -1.0)
    pictures[3] = 1.0

    drawn = grid(pictures, torch.arange(20) % 10, zoom=2)

    assert drawn.shape == (2 * (10 * 9 - 1), 2 * (8 * 9 - 1))
    block = drawn[2 * 9 * 3 : 2 * (9 * 3 + 8), :16]
    assert block.max() == 0
    assert math.isclose(float((drawn == 0).sum()), 16 * 16)


def test_it_is_a_task_of_generators_and_of_denoisers():
    assert isinstance(task(), GenerationTask)
    assert CARD.kinds == ("generator", "denoiser")
    assert CARD.teacher_method == "denoising"


def test_the_protocols_readers_take_the_students_validation_at_half_and_at_the_last_three():
    def event(step: int, value: float | None, *, subject: str = "student", split: str = "validation") -> Evaluation:
        return Evaluation(step, subject, split, step == 400, {"kid": value}, {})

    events = [event(50 * i, float(i)) for i in range(1, 9)]
    noise = [event(0, 99.0, subject="teacher"), event(400, 99.0, split="test")]

    assert protocol.half_way("kid")([*events, *noise]) == 4.0
    assert protocol.mean_of_last_three("kid")([*noise, *events]) == pytest.approx(7.0)
    assert protocol.half_way("kid")(events[-1:]) is None
    assert protocol.mean_of_last_three("kid")(events[-2:]) is None
