"""Verdicts from differences over seeds: against SciPy, against drawn samples whose truth is known, and at the borders by hand."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from engine.statistics import WEAKEST_FIRST, mean_of, paired_differences, seeds_in_favor, t_interval, verdict_of, weakest

numbers = st.floats(-1e3, 1e3).map(lambda value: round(value, 6))
samples = st.lists(numbers, min_size=3, max_size=12)
borders = st.sampled_from([-1.0, -0.01, 0.0, 0.005, 2.0])


# Pairs


def test_a_pair_with_an_undefined_side_is_missing():
    assert paired_differences([3.0, None, 5.0], [1.0, 2.0, None]) == (2.0, None, None)


def test_sides_of_different_lengths_are_no_pairs():
    with pytest.raises(ValueError, match=r"^pairs need as many values on both sides; got 2 and 1\.$"):
        paired_differences([1.0, 2.0], [1.0])


def test_the_mean_is_over_the_defined_differences():
    assert mean_of([1.0, None, 2.0]) == 1.5
    assert mean_of([None, None]) is None


# The interval


@given(samples)
def test_the_interval_is_that_of_scipys_paired_test(ours):
    theirs = [0.3 * value + index for index, value in enumerate(ours)]
    differences = paired_differences(ours, theirs)
    found = t_interval(differences)

    if max(differences) - min(differences) > 1e-6:
        test = scipy.stats.ttest_rel(ours, theirs)
        expected = test.confidence_interval(0.95)
        assert found == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-9)


def test_the_interval_is_that_of_students_distribution_by_hand():
    # Mean 2, s = 1, t(0.975, 2 degrees) = 4.302653: 2 ∓ 4.302653/√3.
    low, high = t_interval([1.0, 2.0, 3.0])

    assert (low, high) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)), abs=1e-6)
    assert (low, high) == pytest.approx(scipy.stats.t.interval(0.95, 2, loc=2, scale=1 / math.sqrt(3)))


@pytest.mark.parametrize("differences", [[], [1.0], [1.0, 2.0], [1.0, 2.0, None], [1.0] * 10, [0.1 + 0.2, 0.3, 0.3]])
def test_fewer_than_three_pairs_or_no_spread_give_no_interval(differences):
    assert t_interval(differences) is None


def test_the_interval_covers_the_true_difference_in_95_percent_of_draws_of_five_seeds():
    draws = np.random.default_rng(0).normal(loc=0.3, scale=2.0, size=(4000, 5)).tolist()

    covered = sum(low < 0.3 < high for low, high in map(t_interval, draws)) / len(draws)

    assert 0.93 <= covered <= 0.97


# Verdicts


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        # Five seeds that all agree, whatever the interval: mean 2, s ≈ 4.4, and the interval reaches below 0.
        ([10.0, 0.1, 0.1, 0.1, 0.1], "shown"),
        ([-10.0, -0.1, -0.1, -0.1, -0.1], "contradicted"),
        # Four seeds that all agree are too few for that; the interval decides, and here it does not.
        ([10.0, 0.1, 0.1, 0.1], "leaning"),
        # Mean 1, s = 0.1, n = 3: 1 ∓ 0.25.
        ([0.9, 1.0, 1.1], "shown"),
        ([-0.9, -1.0, -1.1], "contradicted"),
        # One of five is against, and the interval excludes 0 all the same: mean 0.79, s ≈ 0.5, 0.79 ∓ 0.62.
        ([1.0, 1.0, 1.0, 1.05, -0.1], "shown"),
        ([1.0, -0.9, 0.5], "leaning"),
        ([-1.0, 0.9, -0.5], "not shown"),
        # The former rule's mistake: one seed of three carries the mean.
        ([5.0, -0.1, -0.2], "leaning"),
        ([1.0, 1.0, 1.0], "leaning"),  # no spread, three seeds
        ([1.0] * 5, "shown"),
        ([-1.0] * 4, "not shown"),
        ([1.0], "leaning"),
        ([-1.0], "not shown"),
        ([0.0] * 5, "not shown"),
        ([], "not shown"),
    ],
)
def test_the_verdict_on_a_difference_above_zero(differences, verdict):
    assert verdict_of(differences, above=0.0) == verdict


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.02, 0.03, 0.04], "shown"),  # 0.03 ∓ 0.025 excludes 0.001
        ([0.004, 0.004, 0.004, 0.004, 0.004], "shown"),
        ([0.001] * 5, "not shown"),  # ties with the margin
        ([0.0005, 0.0004, 0.0006, 0.0005, 0.0005], "contradicted"),  # above 0, and below the margin
    ],
)
def test_the_verdict_is_about_the_margin_and_not_about_zero(differences, verdict):
    assert verdict_of(differences, above=0.001) == verdict


def test_a_difference_that_floating_point_made_of_a_tie_is_a_tie():
    # Three rows of 300 more, five times: 0.01 as claimed, and not more.
    differences = [(row + 3) / 300 - row / 300 for row in (30, 100, 150, 240, 270)]

    assert len({*differences}) > 1
    assert seeds_in_favor(differences, above=0.01) == 0
    assert verdict_of(differences, above=0.01) == "not shown"


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.001, -0.002, 0.001], "shown"),  # 0 ∓ 0.0043
        ([0.004, -0.004, 0.004, -0.004, 0.0], "shown"),
        ([0.004, -0.004, 0.008], "leaning"),
        ([0.02, -0.02, 0.0], "leaning"),
        ([0.03, 0.0, 0.01], "not shown"),
        ([0.02, 0.021, 0.019], "contradicted"),
        ([-0.02, -0.021, -0.019], "contradicted"),
        ([-0.5, -0.02, -0.02, -0.02, -0.02], "contradicted"),  # every seed is beyond the same border
        ([0.02, -0.02, 0.02, -0.02, 0.02], "leaning"),  # every seed is beyond one, and their mean is not
    ],
)
def test_the_verdict_on_a_difference_between_two_borders(differences, verdict):
    assert verdict_of(differences, above=-0.01, below=0.01) == verdict


def test_fewer_than_half_of_the_pairs_show_nothing():
    agreed = [1.0, 1.1, 0.9]

    assert verdict_of([*agreed, None, None, None], above=0.0) == "shown"
    assert verdict_of([*agreed, None, None, None, None], above=0.0) == "not shown"
    assert verdict_of([-value for value in agreed] + [None] * 4, above=0.0) == "not shown"


def test_a_missing_pair_does_not_agree():
    uneven = [10.0, 0.1, 0.1, 0.1, 0.1]

    assert verdict_of(uneven, above=0.0) == "shown"
    assert verdict_of([*uneven, None], above=0.0) == "leaning"


@given(st.lists(numbers, min_size=3, max_size=3), borders)
def test_one_of_three_seeds_in_favor_is_never_shown(differences, margin):
    if seeds_in_favor(differences, above=margin) <= 1:
        assert verdict_of(differences, above=margin) != "shown"


@given(samples, borders)
def test_shown_and_contradicted_are_each_others_mirror(differences, margin):
    mirrored = verdict_of([-value for value in differences], above=-math.inf, below=-margin)

    assert verdict_of(differences, above=margin) == mirrored
    opposite = verdict_of([-value for value in differences], above=-margin)
    swapped = {"shown": "contradicted", "contradicted": "shown"}
    assert opposite == swapped.get(verdict_of(differences, above=margin), opposite)
    assert opposite not in swapped or verdict_of(differences, above=margin) in swapped


@given(samples, borders)
def test_a_verdict_has_the_side_of_the_mean(differences, margin):
    mean, verdict = mean_of(differences), verdict_of(differences, above=margin)

    assert (mean > margin) if verdict in ("shown", "leaning") else (mean <= margin + 1e-9)


@given(samples, borders, st.floats(0, 10))
def test_a_smaller_margin_is_shown_wherever_a_larger_one_is(differences, margin, less):
    order = WEAKEST_FIRST.index

    assert order(verdict_of(differences, above=margin - less)) >= order(verdict_of(differences, above=margin))


@given(samples, borders, st.randoms())
def test_the_order_of_the_seeds_does_not_matter(differences, margin, random):
    shuffled = random.sample(differences, len(differences))

    assert verdict_of(shuffled, above=margin) == verdict_of(differences, above=margin)


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        # Two-sided 5 % is one-sided 2.5 %, five of five is 1/32 = 3.1 %, and for normal draws most of the former are among the latter.
        (lambda rng: rng.normal(size=(4000, 5)), 0.036),
        # Skewed away from the claim, median at 0: the interval alone is seldom wrong, five of five still is in 1/32.
        (lambda rng: -(np.exp(rng.normal(size=(4000, 5))) - 1), 0.031),
    ],
)
def test_without_a_difference_five_seeds_are_shown_no_more_often_than_documented(draw, expected):
    draws = draw(np.random.default_rng(1)).tolist()

    rate = sum(verdict_of(row, above=0.0) == "shown" for row in draws) / len(draws)

    bound, sampling_error = 0.025 + 1 / 32, 4 * math.sqrt(0.05625 * 0.94375 / len(draws))
    assert rate <= bound + sampling_error
    assert rate == pytest.approx(expected, abs=sampling_error)


def test_without_a_difference_three_seeds_are_shown_in_two_and_a_half_percent():
    draws = np.random.default_rng(2).normal(size=(4000, 3)).tolist()

    rate = sum(verdict_of(row, above=0.0) == "shown" for row in draws) / len(draws)

    assert rate == pytest.approx(0.025, abs=0.01)


# Several tests


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        (["shown", "shown"], "shown"),
        (["shown", "leaning"], "leaning"),
        (["not shown", "leaning"], "not shown"),
        (["shown", "contradicted", "not shown"], "contradicted"),
        (["identity", "leaning"], "leaning"),
        (["identity", "shown"], "shown"),
        (["identity", "identity"], "identity"),
        (["identity", "contradicted"], "contradicted"),
    ],
)
def test_the_weakest_of_several_verdicts_counts(verdicts, verdict):
    assert weakest(verdicts) == verdict
    assert weakest(verdicts[::-1]) == verdict


def test_no_verdict_is_refused():
    with pytest.raises(ValueError, match=r"^a claim needs at least one test\.$"):
        weakest([])
