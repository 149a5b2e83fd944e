"""The calibration report: numbers by hand, its form, and what it refuses."""

import json
import math
import re
from typing import Any

import numpy as np
import pytest
import torch

from engine.metrics.calibration import (
    adaptive_classwise_error,
    brier_residual,
    calibration_report,
    scalar_metrics,
    top_k_accuracy,
    top_label,
)

# Four stated confidences in two bins: [0, .5) holds .3 (right), [.5, 1] holds .9, .8 (right) and .6 (wrong).
STATED = {"confidence": [0.9, 0.8, 0.6, 0.3], "correct": [1, 1, 0, 1], "n_bins": 2}
# Two rows of probabilities, (.7, .2, .1) with label 0 and (.1, .3, .6) with label 1: the first is right, the second wrong.
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
LABELS = [0, 1]

BY_HAND = {
    "accuracy": 3 / 4,
    "ece": 1 / 4 * 0.7 + 3 / 4 * 0.1,  # gaps: 1 − .3 and 2.3/3 − 2/3
    "mce": 0.7,
    "rmsce": math.sqrt(1 / 4 * 0.49 + 3 / 4 * 0.01),
    "ece_equal_mass": 1 / 2 * 0.05 + 1 / 2 * 0.15,  # {.3, .6}: .5 − .45; {.8, .9}: 1 − .85
    "ada_ece": 2 / 4 * 0.2 + 1 / 4 * 0.1,  # (.3, .8] holds .6, .8: .7 − .5; (.8, .9] holds .9: 1 − .9; .3 is in none
    "brier": (0.01 + 0.04 + 0.36 + 0.49) / 4,
    "brier_reliability": 0.13,  # 1/4 · .49 + 3/4 · .01
    "brier_resolution": 1 / 48,  # 1/4 · (1 − 3/4)² + 3/4 · (2/3 − 3/4)²
    "brier_uncertainty": 3 / 16,
    "overconfidence_gap": 0.65 - 0.75,
    "auroc": 2 / 3,  # .9 and .8 are above the wrong .6, .3 is below
    "spr": 2 / 3,
    "aurc": 7 / 48,  # risks 0, 0, 1/3, 1/4
    "e_aurc": 1 / 12,  # the best order has risks 0, 0, 0, 1/4
}


@pytest.mark.parametrize(("name", "expected"), BY_HAND.items())
def test_stated_confidences_give_the_numbers_worked_out_by_hand(name: str, expected: float):
    report = calibration_report(**STATED)

    assert report[name] == pytest.approx(expected, abs=1e-12)


def test_selective_accuracy_counts_the_rows_upward():
    # ⌈.5 · 4⌉ = 2 rows, both right; ⌈.8 · 4⌉ = ⌈.9 · 4⌉ = 4 rows, three right.
    report = calibration_report(**STATED)

    assert report["selective_accuracy"] == {"0.5": 1.0, "0.8": 0.75, "0.9": 0.75}


def test_the_reliability_diagram_has_means_of_members_not_centers():
    report = calibration_report(**STATED)

    assert report["reliability_diagram"] == [
        {"low": 0.0, "high": 0.5, "count": 1, "conf": 0.3, "acc": 1.0},
        {"low": 0.5, "high": 1.0, "count": 3, "conf": pytest.approx(2.3 / 3), "acc": pytest.approx(2 / 3)},
    ]


def test_an_empty_bin_has_no_confidence_and_no_accuracy():
    report = calibration_report(confidence=[0.9], correct=[1], n_bins=2)

    assert report["reliability_diagram"][0] == {"low": 0.0, "high": 0.5, "count": 0, "conf": None, "acc": None}


def test_the_other_closure_moves_a_confidence_that_lies_on_an_edge():
    # .5 is right: with .2 (wrong) closed on the right, conf .35 acc .5; alone closed on the left, gaps .2 and .5.
    left = calibration_report(confidence=[0.2, 0.5], correct=[0, 1], n_bins=2)
    right = calibration_report(confidence=[0.2, 0.5], correct=[0, 1], n_bins=2, closed="right")

    assert left["ece"] == pytest.approx((0.2 + 0.5) / 2)
    assert right["ece"] == pytest.approx(0.15)


def test_stated_confidences_leave_null_what_needs_probabilities():
    report = calibration_report(**STATED)

    assert [report[name] for name in ("nll", "classwise_ece", "ace", "brier_top_label")] == [None] * 4


def test_logits_give_the_numbers_worked_out_by_hand():
    report = calibration_report(np.log(PROBABILITIES), LABELS, n_bins=2)

    assert report["nll"] == pytest.approx(-(math.log(0.7) + math.log(0.3)) / 2, abs=1e-12)
    assert report["brier"] == pytest.approx((0.09 + 0.04 + 0.01 + 0.01 + 0.49 + 0.36) / 2, abs=1e-12)
    assert report["brier_top_label"] == pytest.approx((0.3**2 + 0.6**2) / 2, abs=1e-12)
    # Bins [0, .5) and [.5, 1]. Class 0: ½·.1 + ½·.3; class 1: both in the first, |½ − .25|; class 2: ½·.1 + ½·.6.
    assert report["classwise_ece"] == pytest.approx((0.2 + 0.25 + 0.35) / 3, abs=1e-12)
    # Two groups of one row. Class 0: .1 + .3; class 1: .2 + .7; class 2: .1 + .6.
    assert report["ace"] == pytest.approx((0.4 + 0.9 + 0.7) / 6, abs=1e-12)


def test_a_threshold_drops_small_probabilities_but_not_their_place_in_the_divisor():
    # At least .25 are .7 (hit) of class 0, .3 (hit) of class 1 and .6 (miss) of class 2; the second groups are empty.
    error = adaptive_classwise_error(PROBABILITIES, np.array(LABELS), n_groups=2, threshold=0.25)

    assert error == pytest.approx((0.3 + 0.7 + 0.6) / 6, abs=1e-12)


def test_logits_are_divided_by_the_temperature():
    logits = np.array([[3.0, 1.0, -2.0], [0.5, 0.0, 4.0]])

    warm = calibration_report(logits, [0, 1], temperature=2.5)
    divided = calibration_report(logits / 2.5, [0, 1])

    assert warm["temperature"] == 2.5
    assert warm | {"temperature": 1.0} == divided


def test_of_equal_logits_the_first_class_is_chosen():
    confidence, correct = top_label([[1.0, 1.0], [1.0, 1.0]], [0, 1])

    assert correct.tolist() == [1.0, 0.0]
    assert confidence == pytest.approx([0.5, 0.5])


def test_a_high_temperature_changes_no_prediction_though_probabilities_round_to_a_tie():
    # exp(−1e−17) is 1 in float64, so at T = 1e6 both probabilities are exactly ½.
    _, correct = top_label([[0.0, 1e-11]], [1], temperature=1e6)

    assert correct.tolist() == [1.0]


def test_large_logits_give_a_finite_nll():
    # −log softmax(1000, 0)[1] = log(1 + e^1000) = 1000 in float64.
    report = calibration_report([[1000.0, 0.0]], [1])

    assert report["nll"] == 1000.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_tensors_are_widened_before_anything_is_computed(dtype: torch.dtype):
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.25, 1.5, -4.0]], dtype=dtype, requires_grad=True)

    report = calibration_report(logits, torch.tensor([0, 2]))

    assert report == calibration_report([[2.0, -1.0, 0.5], [0.25, 1.5, -4.0]], [0, 2])


@pytest.mark.parametrize("correct", [[1, 1], [0, 0]])
def test_a_report_has_null_where_undefined_and_is_valid_json(correct: list[int]):
    report = calibration_report(confidence=[0.7, 0.9], correct=correct)

    assert report["auroc"] is None
    assert report["spr"] == 0.0
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_a_report_says_how_it_was_made_and_has_every_key():
    report = calibration_report(np.log(PROBABILITIES), LABELS, n_bins=7, closed="right", temperature=3)

    assert {key: report[key] for key in ("n", "n_bins", "closed", "temperature")} == {
        "n": 2,
        "n_bins": 7,
        "closed": "right",
        "temperature": 3.0,
    }
    assert len(report["reliability_diagram"]) == 7
    assert [len(report["risk_coverage"][name]) for name in ("coverage", "risk")] == [2, 2]
    assert set(report) == set(BY_HAND) | {
        "classwise_ece", "ace", "nll", "brier_top_label", "selective_accuracy", "n", "n_bins", "closed", "temperature",
        "reliability_diagram", "risk_coverage",
    }  # fmt: skip


def test_scalar_metrics_flatten_the_selective_accuracies():
    flat = scalar_metrics(calibration_report(**STATED))

    assert flat["selective_accuracy_50"] == 1.0
    assert flat["selective_accuracy_80"] == flat["selective_accuracy_90"] == 0.75
    assert flat["nll"] is None
    assert flat["ece"] == pytest.approx(0.25)


def test_the_residual_of_the_decomposition_is_what_the_spread_inside_bins_leaves():
    # .225 − (.13 − 1/48 + 3/16)
    assert brier_residual(calibration_report(**STATED)) == pytest.approx(0.225 - 0.13 + 1 / 48 - 3 / 16, abs=1e-12)


def test_the_residual_is_zero_when_confidence_is_constant_inside_each_bin():
    report = calibration_report(confidence=[0.2, 0.2, 0.9, 0.9, 0.9], correct=[0, 1, 1, 1, 0], n_bins=2)

    assert brier_residual(report) == pytest.approx(0, abs=1e-12)


def test_top_k_accuracy_counts_the_label_among_the_k_largest():
    # The labels are the largest, second largest and smallest logit of their rows.
    logits = [[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]

    shares = [top_k_accuracy(logits, [0, 1, 2], k) for k in (1, 2, 3)]

    assert shares == pytest.approx([1 / 3, 2 / 3, 1])


def test_top_k_accuracy_takes_the_lowest_of_equal_classes_first():
    logits = [[0.0, 0.0, 0.0]] * 3

    assert top_k_accuracy(logits, [0, 1, 2], 2) == pytest.approx(2 / 3)


TWO = [[1.0, 2.0], [2.0, 1.0]]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "give either logits and labels, or confidence and correct."),
    ({"logits": TWO}, "give either logits and labels, or confidence and correct."),
    ({"confidence": [0.5]}, "give either logits and labels, or confidence and correct."),
    ({"logits": TWO, "labels": [0, 1], "confidence": [0.5], "correct": [1]}, "give either logits and labels, or confidence and correct."),
    ({"logits": np.zeros((0, 3)), "labels": []}, "logits has no rows; at least one is needed to compute a metric."),
    ({"confidence": [], "correct": []}, "confidence has no rows; at least one is needed to compute a metric."),
    ({"logits": [1.0, 2.0], "labels": [0, 1]}, "logits must have 2 axes; got shape (2,)."),
    ({"logits": [[1.0], [2.0]], "labels": [0, 0]}, "logits must have at least 2 classes; got shape (2, 1)."),
    ({"logits": [[1.0, 2.0], [math.nan, 1.0]], "labels": [0, 1]}, "logits must be finite; row 1 holds NaN or infinity."),
    ({"logits": TWO, "labels": [0]}, "labels must have one entry for each of the 2 rows of logits; got 1."),
    ({"logits": TWO, "labels": [0, 2]}, "labels must be whole numbers from 0 to 1; row 1 holds 2."),
    ({"logits": TWO, "labels": [0.5, 1]}, "labels must be whole numbers from 0 to 1; row 0 holds 0.5."),
    ({"confidence": [0.5, 1.5], "correct": [1, 1]}, "confidence must lie in [0, 1]; row 1 holds 1.5."),
    ({"confidence": [0.5, 0.5], "correct": [1]}, "correct must have one entry for each of the 2 confidences; got 1."),
    ({"confidence": [0.5, 0.5], "correct": [1, 2]}, "correct must hold 0 or 1; row 1 holds 2."),
    ({"logits": TWO, "labels": [0, 1], "n_bins": 0}, "n_bins must be at least 1; got 0."),
    ({"logits": TWO, "labels": [0, 1], "closed": "both"}, "closed must be left or right; got 'both'."),
    ({"logits": TWO, "labels": [0, 1], "temperature": 0}, "temperature must be a finite number greater than 0; got 0."),
    ({"logits": TWO, "labels": [0, 1], "temperature": math.inf}, "temperature must be a finite number greater than 0; got inf."),
]


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED)
def test_bad_input_is_refused_with_one_sentence(arguments: dict[str, Any], sentence: str):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        calibration_report(**arguments)
