"""Intervals from resampled rows."""

import re

import numpy as np
import pytest

from engine.metrics.bootstrap import DRAWN_AT_ONCE, ece_interval, ece_of_rows, interval, resampled_rows
from engine.metrics.calibration import calibration_report


def rows_of(n: int, seed: int = 1):
    generator = np.random.default_rng(seed)
    confidence = generator.uniform(0.3, 1, n)
    return confidence, (generator.random(n) < confidence - 0.1).astype(float)


def test_the_interval_is_that_of_the_loop_over_default_rng_0():
    confidence, correct = rows_of(80)
    generator = np.random.default_rng(0)
    resampled = []
    for _ in range(1000):
        rows = generator.integers(0, 80, size=80)
        resampled.append(calibration_report(confidence=confidence[rows], correct=correct[rows])["ece"])

    found = ece_interval(confidence, correct)

    assert found == pytest.approx(tuple(np.percentile(resampled, [2.5, 97.5])), abs=1e-12)


def test_bins_and_closure_are_those_of_the_report():
    confidence, correct = np.round(rows_of(50)[0], 1), rows_of(50)[1]
    statistic = ece_of_rows(confidence, correct, n_bins=10, closed="right")

    once = statistic(np.arange(50)[None])

    assert once == pytest.approx([calibration_report(confidence=confidence, correct=correct, n_bins=10, closed="right")["ece"]], abs=1e-12)


def test_a_mean_has_the_interval_of_the_normal_approximation():
    # Half ones in 400 rows: standard error ½/20 = .025, so ½ ± 1.96 · .025.
    values = np.tile([0.0, 1.0], 200)

    found = interval(lambda rows: values[rows].mean(axis=1), 400)

    assert found.low == pytest.approx(0.451, abs=0.006)
    assert found.high == pytest.approx(0.549, abs=0.006)


def test_differences_of_runs_on_the_same_rows_are_paired():
    # Two runs whose losses differ by .1 in every row: unpaired their intervals overlap, paired the difference is certain.
    values = np.random.default_rng(5).normal(size=200)

    found = interval(lambda rows: (values + 0.1)[rows].mean(axis=1) - values[rows].mean(axis=1), 200)

    assert found == pytest.approx((0.1, 0.1), abs=1e-12)


def test_resamples_are_the_same_whether_drawn_at_once_or_in_pieces():
    n = DRAWN_AT_ONCE // 3
    generator = np.random.default_rng(0)

    pieces = list(resampled_rows(n, 4))

    assert [len(piece) for piece in pieces] == [3, 1]
    assert all((row == generator.integers(0, n, size=n)).all() for piece in pieces for row in piece)


def test_a_single_row_has_an_interval_without_width():
    assert ece_interval([0.8], [1]) == pytest.approx((0.2, 0.2))


def test_numpys_and_torchs_global_generators_are_not_touched():
    before = np.random.get_state()[1].copy()

    ece_interval(*rows_of(20))

    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize(("n", "resamples"), [(0, 1000), (5, 0)])
def test_nothing_to_resample_is_refused(n: int, resamples: int):
    with pytest.raises(ValueError, match=re.escape(f"an interval needs at least one row and one resample; got {n} and {resamples}.")):
        interval(lambda rows: rows.mean(axis=1), n, resamples=resamples)
