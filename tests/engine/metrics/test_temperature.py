"""Temperature scaling."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from engine.metrics.calibration import calibration_report
from engine.metrics.temperature import fit_temperature


def test_two_classes_with_one_margin_have_a_temperature_in_closed_form():
    # Margin 4, right in 3 of 4 rows. The NLL is least where sigmoid(4/T) = 3/4, so 4/T = ln 3.
    logits, labels = [[4.0, 0.0]] * 4, [0, 0, 0, 1]

    fitted = fit_temperature(logits, labels)

    assert fitted.number == pytest.approx(4 / math.log(3), rel=1e-6)
    assert fitted.at_bound is None


def test_the_temperature_of_the_closed_form_makes_the_confidence_equal_the_accuracy():
    logits, labels = [[4.0, 0.0]] * 4, [0, 0, 0, 1]

    report = calibration_report(logits, labels, temperature=fit_temperature(logits, labels).value)

    assert report["ece"] == pytest.approx(0, abs=1e-7)


def test_labels_drawn_from_a_softer_model_ask_for_its_temperature():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 5)) * 4
    p = np.exp(logits / 2.5)
    drawn = (generator.random((20_000, 1)) > (p / p.sum(axis=1, keepdims=True)).cumsum(axis=1)).sum(axis=1)

    fitted = fit_temperature(logits, drawn)

    # The standard error is about .03.
    assert fitted.value == pytest.approx(2.5, abs=0.12)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from([0.3, 1.0, 3.0, 10.0]))
def test_no_search_over_the_nll_finds_a_better_temperature(seed: int, scale: float):
    generator = np.random.default_rng(seed)
    logits, labels = generator.normal(size=(30, 4)), generator.integers(0, 4, 30)
    logits[np.arange(30), labels] += generator.normal(1, 1, 30)
    logits *= scale

    fitted = fit_temperature(logits, labels)

    def nll(log_t: float) -> float:
        return calibration_report(logits, labels, temperature=math.exp(log_t))["nll"]

    searched = minimize_scalar(nll, bounds=(-3, 4), method="bounded", options={"xatol": 1e-6})
    assert nll(math.log(fitted.value)) <= searched.fun + 1e-12


def test_multiplied_logits_ask_for_a_multiplied_temperature():
    generator = np.random.default_rng(1)
    logits, labels = generator.normal(size=(50, 3)), generator.integers(0, 3, 50)
    logits[np.arange(50), labels] += 0.7

    assert fit_temperature(5 * logits, labels).value == pytest.approx(5 * fit_temperature(logits, labels).value, rel=1e-6)


def test_a_perfectly_separable_split_ends_at_the_lower_bound_and_shows_no_number():
    logits, labels = np.eye(3) * 2, [0, 1, 2]

    fitted = fit_temperature(logits, labels)

    assert (fitted.value, fitted.at_bound, fitted.number) == (math.exp(-3), "lower", None)
    assert str(fitted) == "≤ 0.050"


def test_a_separable_split_whose_softmax_is_saturated_ends_at_the_lower_bound_too():
    fitted = fit_temperature(np.eye(3) * 5000, [0, 1, 2])

    assert fitted.at_bound == "lower"


def test_labels_that_contradict_the_logits_end_at_the_upper_bound_and_show_no_number():
    logits, labels = np.eye(3) * 2, [1, 2, 0]

    fitted = fit_temperature(logits, labels)

    assert (fitted.value, fitted.at_bound, fitted.number) == (math.exp(4), "upper", None)
    assert str(fitted) == "≥ 54.6"


def test_logits_that_tell_nothing_keep_the_temperature_of_one():
    fitted = fit_temperature([[2.0, 2.0], [-1.0, -1.0]], [0, 1])

    assert (fitted.value, fitted.at_bound, str(fitted)) == (1.0, None, "1.0000")


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match=re.escape("logits has no rows; at least one is needed to compute a metric.")):
        fit_temperature(np.zeros((0, 3)), [])
