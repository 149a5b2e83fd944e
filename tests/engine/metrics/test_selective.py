"""Ranking by confidence, and answering only where it is high."""

import re

import numpy as np
import pytest

from engine.metrics.selective import accuracy_at, excess_aurc, ranking, risk_coverage


def test_ties_count_half_for_auroc_and_nothing_for_spr():
    # Right .5 and .9, wrong .5 and .1: of four pairs three are above and one is tied.
    auroc, spr = ranking(np.array([0.5, 0.9, 0.5, 0.1]), np.array([1.0, 1.0, 0.0, 0.0]))

    assert (auroc, spr) == (3.5 / 4, 3 / 4)


def test_a_saturated_model_has_a_middling_auroc_and_no_spr():
    auroc, spr = ranking(np.ones(4), np.array([1.0, 0.0, 1.0, 1.0]))

    assert (auroc, spr) == (0.5, 0.0)


@pytest.mark.parametrize("correct", [0.0, 1.0])
def test_without_both_right_and_wrong_rows_auroc_is_undefined_and_spr_is_zero(correct: float):
    assert ranking(np.array([0.2, 0.8]), np.full(2, correct)) == (None, 0.0)


def test_the_risk_is_the_error_rate_of_the_most_confident_rows():
    # Descending: .9 right, .8 wrong, .6 right, .3 wrong.
    coverage, risk = risk_coverage(np.array([0.3, 0.9, 0.6, 0.8]), np.array([0.0, 1.0, 1.0, 0.0]))

    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])


def test_inside_a_tie_the_errors_grow_evenly():
    # .9 right; then three rows at .5 with two errors: cumulative errors 0, 2/3, 4/3, 2.
    _, risk = risk_coverage(np.array([0.5, 0.9, 0.5, 0.5]), np.array([0.0, 1.0, 1.0, 0.0]))

    assert risk == pytest.approx([0, 1 / 3, 4 / 9, 1 / 2])


def test_excess_aurc_is_measured_from_the_order_with_all_errors_last():
    # All tied: risks ½ throughout; best with two errors of four: 0, 0, 1/3, 1/2.
    _, risk = risk_coverage(np.full(4, 0.5), np.array([1.0, 0.0, 1.0, 0.0]))

    assert excess_aurc(risk, errors=2) == pytest.approx(1 / 2 - 5 / 24)


@pytest.mark.parametrize(
    ("rows", "coverage", "answered"), [(4, 0.5, 2), (5, 0.5, 3), (30, 0.9, 27), (35, 0.8, 28), (1, 0.5, 1), (3, 1.0, 3)]
)
def test_selective_accuracy_answers_the_share_of_rows_rounded_up(rows: int, coverage: float, answered: int):
    # Risks that name their own row: 1/1, 1/2, 1/3, …
    risk = 1 / np.arange(1, rows + 1)

    assert accuracy_at(risk, coverage) == pytest.approx(1 - 1 / answered, abs=1e-12)


@pytest.mark.parametrize("coverage", [0.0, 1.5])
def test_a_coverage_outside_its_range_is_refused(coverage: float):
    with pytest.raises(ValueError, match=re.escape(f"coverage must be greater than 0 and at most 1; got {coverage}.")):
        accuracy_at(np.array([0.5]), coverage)
