"""Which bin a confidence belongs to."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from engine.metrics.binning import adaptive, equal_mass, equal_width
from engine.metrics.calibration import calibration_report


def test_an_inner_edge_belongs_to_the_bin_above_it_and_one_to_the_last():
    confidence = np.array([0.0, 0.24, 0.25, 0.5, 0.75, 1.0])

    bins = equal_width(confidence, 4)

    assert bins.tolist() == [0, 0, 1, 2, 3, 3]


def test_closed_on_the_right_an_inner_edge_belongs_to_the_bin_below_it_and_zero_to_the_first():
    confidence = np.array([0.0, 0.24, 0.25, 0.5, 0.75, 1.0])

    bins = equal_width(confidence, 4, closed="right")

    assert bins.tolist() == [0, 0, 0, 1, 2, 3]


@pytest.mark.parametrize(("stated", "expected"), [(0.1, 1), (0.2, 2), (0.3, 2), (0.4, 4), (0.5, 5), (0.6, 5), (0.7, 6), (0.8, 8), (0.9, 9)])
def test_a_stated_confidence_falls_where_the_float64_edges_put_it(stated: float, expected: int):
    # linspace(0, 1, 11) holds 0.30000000000000004, 0.6000000000000001 and 0.7000000000000001.
    confidence = np.array([stated])

    bins = equal_width(confidence, 10)

    assert bins.tolist() == [expected]


def torchmetrics_ece(confidence: list[float], correct: list[int], *, n_bins: int) -> float:
    """Of a classifier with two classes that chooses the first one with these confidences."""
    probabilities = torch.tensor([[each, 1 - each] for each in confidence])
    return multiclass_calibration_error(probabilities, 1 - torch.tensor(correct), num_classes=2, n_bins=n_bins, norm="l1").item()


def test_torchmetrics_gives_a_confidence_of_one_a_bin_of_its_own_and_ours_is_in_the_last():
    confidence, correct = [1.0, 0.96], [0, 1]

    ours = calibration_report(confidence=confidence, correct=correct, n_bins=10)["ece"]

    # Ours: one bin of mean confidence 0.98 and accuracy 1/2. Theirs: ½·|0 − 1| + ½·|1 − 0.96|.
    assert equal_width(np.array(confidence), 10).tolist() == [9, 9]
    assert ours == pytest.approx(0.48)
    assert torchmetrics_ece(confidence, correct, n_bins=10) == pytest.approx(0.52, abs=1e-6)


def test_an_edge_of_torchmetrics_is_single_precision_and_ours_is_double():
    confidence, correct = [0.7, 0.65], [0, 1]

    ours = calibration_report(confidence=confidence, correct=correct, n_bins=10)["ece"]

    # Ours: 0.7 is below the seventh edge, 0.7000000000000001: one bin of mean confidence 0.675 and accuracy 1/2. Theirs: ½·0.7 + ½·0.35.
    assert equal_width(np.array(confidence), 10).tolist() == [6, 6]
    assert ours == pytest.approx(0.175)
    assert torchmetrics_ece(confidence, correct, n_bins=10) == pytest.approx(0.525, abs=1e-6)


def test_equal_mass_gives_the_first_groups_one_row_more():
    # Seven rows in three groups as array_split cuts them: 3, 2, 2. In ascending order: .1 .2 .3 | .4 .5 | .6 .7
    confidence = np.array([0.7, 0.1, 0.4, 0.2, 0.6, 0.3, 0.5])

    groups = equal_mass(confidence, 3)

    assert groups.tolist() == [2, 0, 1, 0, 2, 0, 1]


def test_equal_mass_cuts_ties_in_the_order_of_the_rows():
    confidence = np.full(4, 0.5)

    groups = equal_mass(confidence, 2)

    assert groups.tolist() == [0, 0, 1, 1]


def test_equal_mass_with_fewer_rows_than_groups_leaves_the_last_ones_empty():
    confidence = np.array([0.9, 0.1])

    groups = equal_mass(confidence, 5)

    assert groups.tolist() == [1, 0]


def test_the_smallest_confidence_is_in_no_adaptive_bin():
    # Sorted .3 .6 .8 .9; edges at positions 0, 2 and 4 of it: .3, .8, .9 (beyond the last row, the last value). Bins (.3, .8] and (.8, .9].
    confidence = np.array([0.9, 0.8, 0.6, 0.3])

    bins = adaptive(confidence, 2)

    assert bins.tolist() == [1, 0, 0, -1]
