"""What holds for the calibration numbers whatever the rows are."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.metrics.calibration import calibration_report, scalar_metrics, top_label
from engine.metrics.temperature import fit_temperature

CLOSURES = st.sampled_from(["left", "right"])
BINS = st.integers(1, 20)
UNIT = st.floats(0, 1, allow_subnormal=False)


@st.composite
def stated(draw, confidence=UNIT):
    """Confidences and correctness of 1 to 60 rows."""
    rows = draw(st.lists(st.tuples(confidence, st.integers(0, 1)), min_size=1, max_size=60))
    return np.array([c for c, _ in rows]), np.array([a for _, a in rows])


@st.composite
def classified(draw):
    """Logits and labels of 1 to 50 rows and 2 to 6 classes; no two logits are alike."""
    rows, classes, seed = draw(st.integers(1, 50)), draw(st.integers(2, 6)), draw(st.integers(0, 2**32))
    generator = np.random.default_rng(seed)
    scale = draw(st.sampled_from([0.1, 1.0, 5.0, 40.0]))
    return generator.normal(size=(rows, classes)) * scale, generator.integers(0, classes, rows)


@given(UNIT, st.lists(st.integers(0, 1), min_size=1, max_size=60), BINS, CLOSURES)
def test_one_constant_confidence_has_its_distance_from_accuracy_as_every_equal_width_error(q, correct, n_bins, closed):
    gap = abs(np.mean(correct) - q)

    report = calibration_report(confidence=np.full(len(correct), q), correct=correct, n_bins=n_bins, closed=closed)

    assert [report[name] for name in ("ece", "mce", "rmsce")] == pytest.approx([gap] * 3, abs=1e-12)
    # No open interval contains the one confidence there is.
    assert report["ada_ece"] == 0


@given(st.lists(st.floats(0, 0.49), min_size=1, max_size=30), st.lists(st.floats(0.51, 1), min_size=1, max_size=30))
def test_confidences_that_separate_right_from_wrong_rank_perfectly(wrong, right):
    confidence, correct = np.r_[wrong, right], np.r_[np.zeros(len(wrong)), np.ones(len(right))]

    report = calibration_report(confidence=confidence, correct=correct)

    assert (report["auroc"], report["spr"]) == (1, 1)
    assert report["e_aurc"] == pytest.approx(0, abs=1e-12)


@given(classified(), st.randoms(use_true_random=False), BINS, CLOSURES)
def test_the_order_of_the_rows_changes_nothing(rows, random, n_bins, closed):
    logits, labels = rows
    order = list(range(len(labels)))
    random.shuffle(order)
    # Saturated confidences tie at 1, and equal-mass groups may cut a tie anywhere.
    confidence, _ = top_label(logits, labels)
    assume(len(np.unique(confidence)) == len(confidence))

    before = calibration_report(logits, labels, n_bins=n_bins, closed=closed)
    after = calibration_report(logits[order], labels[order], n_bins=n_bins, closed=closed)

    # A class's probabilities may underflow to a tie though the largest ones do not.
    tied = {"ace"} if np.abs(logits).max() > 30 else set()
    for name, value in scalar_metrics(before).items():
        if name not in tied:
            assert scalar_metrics(after)[name] == (None if value is None else pytest.approx(value, abs=1e-12)), name


@given(stated(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])), st.randoms(use_true_random=False))
def test_the_order_of_tied_rows_changes_only_what_cuts_ties(rows, random):
    confidence, correct = rows
    order = list(range(len(correct)))
    random.shuffle(order)

    before = calibration_report(confidence=confidence, correct=correct)
    after = calibration_report(confidence=confidence[order], correct=correct[order])

    for name, value in scalar_metrics(before).items():
        if name != "ece_equal_mass":
            assert scalar_metrics(after)[name] == (None if value is None else pytest.approx(value, abs=1e-12)), name


@given(stated(), BINS, CLOSURES)
def test_ece_is_at_most_rmsce_is_at_most_mce(rows, n_bins, closed):
    confidence, correct = rows

    report = calibration_report(confidence=confidence, correct=correct, n_bins=n_bins, closed=closed)

    assert report["ece"] <= report["rmsce"] + 1e-12
    assert report["rmsce"] <= report["mce"] + 1e-12


@given(stated())
def test_the_squared_overconfidence_gap_is_at_most_the_binary_brier_score(rows):
    confidence, correct = rows

    report = calibration_report(confidence=confidence, correct=correct)

    assert report["overconfidence_gap"] ** 2 <= report["brier"] + 1e-12


@given(stated(st.integers(0, 1000).map(lambda k: k / 1000)), st.sampled_from([np.sqrt, np.square, lambda c: c / 2 + 0.25]))
def test_a_strictly_increasing_map_of_confidence_changes_no_ranking(rows, increasing):
    confidence, correct = rows

    before = calibration_report(confidence=confidence, correct=correct)
    after = calibration_report(confidence=increasing(confidence), correct=correct)

    assert [before[name] for name in ("auroc", "spr", "aurc", "e_aurc")] == [after[name] for name in ("auroc", "spr", "aurc", "e_aurc")]


@given(classified())
def test_temperature_scaling_never_raises_nll_on_its_own_rows_and_changes_no_prediction(rows):
    logits, labels = rows

    fitted = fit_temperature(logits, labels)

    raw, scaled = calibration_report(logits, labels), calibration_report(logits, labels, temperature=fitted.value)
    assert scaled["nll"] <= raw["nll"] + 1e-12
    assert scaled["accuracy"] == raw["accuracy"]
    assert (top_label(logits, labels)[1] == top_label(logits, labels, fitted.value)[1]).all()


@given(stated(), CLOSURES)
def test_with_one_bin_ece_is_the_size_of_the_overconfidence_gap(rows, closed):
    confidence, correct = rows

    report = calibration_report(confidence=confidence, correct=correct, n_bins=1, closed=closed)

    assert report["ece"] == pytest.approx(abs(report["overconfidence_gap"]), abs=1e-12)


@given(stated(st.sampled_from([0.1, 0.5, 0.9])))
def test_excess_aurc_is_never_negative_though_confidences_tie(rows):
    confidence, correct = rows

    report = calibration_report(confidence=confidence, correct=correct)

    assert 0 <= report["e_aurc"] <= report["aurc"]
