"""Differences of seed groups: against scipy, and by simulation for what their intervals and verdicts promise."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from engine.statistics import t_interval
from webapp.comparing.verdicts import (
    MOST_SEEDS,
    SEEDS_UNPAIRED,
    Difference,
    difference_of,
    holm,
    mcnemar,
    more_seeds,
    verdicts,
)

TRIALS = 4000
COVERAGE = 0.95
WITHIN = 0.015


def seeded(values: Any, start: int = 0) -> dict[int, float]:
    return dict(enumerate(map(float, values), start=start))


def draws(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


class TestAgainstScipy:
    @pytest.mark.parametrize("n", [3, 4, 10])
    def test_shared_seeds_are_a_paired_t_test(self, n: int) -> None:
        generator = draws(n)
        ours, theirs = generator.normal(1, 1, n), generator.normal(0, 1, n)

        found = difference_of(seeded(ours), seeded(theirs))
        expected = stats.ttest_rel(ours, theirs)
        low, high = expected.confidence_interval(0.95)

        assert found is not None and found.is_paired and found.n == n
        assert found.mean == pytest.approx(np.mean(ours - theirs))
        assert found.p == pytest.approx(expected.pvalue)
        assert found.interval == pytest.approx((low, high))

    @pytest.mark.parametrize(("n", "m"), [(4, 4), (5, 9), (12, 4)])
    def test_other_seeds_are_welchs_test(self, n: int, m: int) -> None:
        generator = draws(n + m)
        ours, theirs = generator.normal(1, 1, n), generator.normal(0, 3, m)

        found = difference_of(seeded(ours), seeded(theirs, start=100))
        expected = stats.ttest_ind(ours, theirs, equal_var=False)
        low, high = expected.confidence_interval(0.95)

        assert found is not None and not found.is_paired and found.n == min(n, m)
        assert found.p == pytest.approx(expected.pvalue)
        assert found.interval == pytest.approx((low, high))

    @pytest.mark.parametrize(("one", "other"), [(0, 0), (0, 5), (3, 9), (7, 7), (100, 140)])
    def test_mcnemar_is_the_exact_binomial_test(self, one: int, other: int) -> None:
        expected = stats.binomtest(one, one + other).pvalue if one + other else 1.0

        assert mcnemar(one, other) == pytest.approx(expected)
        assert mcnemar(other, one) == mcnemar(one, other)

    def test_a_groups_mean_has_students_interval(self) -> None:
        values = [0.90, 0.92, 0.97, 0.91]
        expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))

        assert t_interval(values) == pytest.approx(expected)
        assert t_interval(values[:2]) is None
        assert t_interval([0.5] * 5) is None


class TestSimulated:
    """With normal seeds. 4,000 trials know a coverage of 95 % to 0.35 points."""

    @pytest.mark.parametrize("n", [3, 4, 5, 10])
    @pytest.mark.parametrize("shared", [0.0, 3.0])
    def test_paired_intervals_cover(self, n: int, shared: float) -> None:
        generator = draws(n)
        covered = 0
        for _ in range(TRIALS):
            common = generator.normal(0, shared, n) if shared else np.zeros(n)
            found = difference_of(seeded(common + generator.normal(0.3, 1, n)), seeded(common + generator.normal(0, 1, n)))
            assert found is not None and found.interval is not None
            covered += found.interval[0] <= 0.3 <= found.interval[1]

        assert abs(covered / TRIALS - COVERAGE) <= WITHIN

    @pytest.mark.parametrize(("n", "m"), [(4, 4), (4, 8), (4, 20), (6, 5), (10, 10)])
    @pytest.mark.parametrize("ratio", [0.25, 1.0, 4.0])
    def test_unpaired_intervals_cover_with_unequal_spreads(self, n: int, m: int, ratio: float) -> None:
        generator = draws(100 * n + m)
        covered = 0
        for _ in range(TRIALS):
            found = difference_of(seeded(generator.normal(0.3, 1, n)), seeded(generator.normal(0, ratio, m), start=100))
            assert found is not None and found.interval is not None
            covered += found.interval[0] <= 0.3 <= found.interval[1]

        assert abs(covered / TRIALS - COVERAGE) <= WITHIN

    @pytest.mark.parametrize("candidates", [1, 4, 12])
    @pytest.mark.parametrize("seeds", [3, 5])
    def test_among_equal_candidates_one_is_called_better_in_one_comparison_of_twenty_at_most(self, candidates: int, seeds: int) -> None:
        generator = draws(candidates + seeds)
        trials, better, decided = TRIALS // 4, 0, 0
        for _ in range(trials):
            baseline = seeded(generator.normal(0, 1, seeds))
            found = verdicts([difference_of(seeded(generator.normal(0, 1, seeds)), baseline) for _ in range(candidates)], "higher")
            words = {each.word for each in found if each is not None}
            better += "better" in words
            decided += bool(words & {"better", "worse"})

        noise = 2.6 * math.sqrt(0.05 * 0.95 / trials)
        assert better / trials <= 0.05
        assert decided / trials <= 0.05 + noise

    def test_so_many_more_seeds_decide_in_four_cases_of_five(self) -> None:
        generator = draws(0)
        needed = more_seeds(Difference(0.5, 3, is_paired=True, spread=1.0))
        assert needed is not None

        decided = 0
        for _ in range(TRIALS // 2):
            found = difference_of(seeded(generator.normal(0.5, 1, 3 + needed)), seeded(np.zeros(3 + needed)))
            assert found is not None and found.p is not None
            decided += found.p <= 0.05

        assert decided / (TRIALS // 2) == pytest.approx(0.8, abs=0.04)


class TestWords:
    @pytest.mark.parametrize(("direction", "word"), [("higher", "better"), ("lower", "worse")])
    def test_a_clear_difference_is_better_or_worse_by_the_direction(self, direction: Any, word: str) -> None:
        found = difference_of(seeded([1.0, 1.1, 0.9]), seeded([0.0, 0.11, -0.11]))

        (verdict,) = verdicts([found], direction)

        assert verdict is not None and verdict.word == word and verdict.more_seeds is None

    def test_what_the_seeds_leave_open_is_undecided_and_says_how_many_more_would_decide(self) -> None:
        # Differences 0.02, −0.01, 0.02: mean 0.01, s = 0.0173; at n seeds (t₀.₉₇₅ + t₀.₈) · s / √n must fall below the mean.
        found = difference_of(seeded([0.92, 0.90, 0.94]), seeded([0.90, 0.91, 0.92]))

        (verdict,) = verdicts([found], "higher")

        assert verdict is not None and verdict.word == "undecided" and verdict.more_seeds is not None
        n, s = 3 + verdict.more_seeds, math.sqrt(0.0003)
        reach = [(stats.t.ppf(0.975, k - 1) + stats.t.ppf(0.8, k - 1)) * s / math.sqrt(k) for k in (n - 1, n)]
        assert reach[0] > 0.01 >= reach[1]

    @pytest.mark.parametrize(
        ("ours", "theirs"),
        [
            (seeded([0.9]), seeded([0.1])),
            (seeded([0.9, 0.91]), seeded([0.1, 0.11])),
            (seeded([0.9, 0.91, 0.92]), seeded([0.1, 0.11, 0.12], start=50)),
            (seeded([0.9] * 9), seeded([0.1, 0.2, 0.3], start=50)),
        ],
    )
    def test_below_three_pairs_and_four_unpaired_seeds_nothing_is_judged_however_large(self, ours: Any, theirs: Any) -> None:
        (verdict,) = verdicts([difference_of(ours, theirs)], "higher")

        assert verdict is not None and (verdict.word, verdict.p, verdict.difference.interval) == ("too few seeds", None, None)
        assert SEEDS_UNPAIRED == 4

    def test_pairs_are_of_the_seeds_that_both_have(self) -> None:
        found = difference_of({1: 1.0, 2: 2.0, 3: 3.0, 9: 100.0}, {3: 2.0, 2: 1.5, 1: 0.0, 7: -50.0})

        assert found is not None and (found.n, found.mean) == (3, pytest.approx((1 + 0.5 + 1) / 3))

    def test_seeds_that_all_agree_to_the_last_digit_decide_nothing(self) -> None:
        same = difference_of(seeded([0.5, 0.6, 0.7]), seeded([0.4, 0.5, 0.6]))
        none = difference_of(seeded([0.5, 0.6, 0.7]), seeded([0.5, 0.6, 0.7]))

        found = verdicts([same, none], "higher")

        assert [each and (each.word, each.p, each.more_seeds) for each in found] == [("undecided", None, None)] * 2

    def test_where_nothing_is_known_or_no_direction_is_better_there_is_no_verdict(self) -> None:
        assert difference_of({}, seeded([1, 2, 3])) is None and difference_of(seeded([1, 2, 3]), {}) is None
        assert verdicts([None], "higher") == [None]
        assert verdicts([difference_of(seeded([1.0, 1.1, 0.9]), seeded([0.0, 0.11, -0.11]))], None) == [None]

    def test_among_many_candidates_more_seeds_are_needed(self) -> None:
        found = Difference(0.5, 3, is_paired=True, spread=1.0)
        alone, among = more_seeds(found), more_seeds(found, candidates=10)

        assert alone is not None and among is not None and among > alone
        near = [seeded([0.92, 0.90, 0.94]), seeded([0.90, 0.91, 0.92])]
        single = verdicts([difference_of(*near)], "higher")[0]
        of_three = verdicts([difference_of(*near)] * 3, "higher")[0]
        assert single is not None and of_three is not None
        assert (of_three.more_seeds or MOST_SEEDS) > (single.more_seeds or 0)

    def test_a_difference_that_is_far_too_small_has_no_number_of_seeds(self) -> None:
        assert more_seeds(Difference(0.001, 5, is_paired=True, spread=1.0)) is None
        assert more_seeds(Difference(0.0, 5, is_paired=True, spread=1.0)) is None
        assert more_seeds(Difference(0.5, MOST_SEEDS, is_paired=True, spread=5.0)) is None


class TestHolm:
    def test_the_smallest_is_multiplied_by_all_and_each_next_by_one_less(self) -> None:
        assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])

    def test_what_is_missing_is_no_candidate(self) -> None:
        assert holm([None, 0.02, None, 0.03]) == [None, pytest.approx(0.04), None, pytest.approx(0.04)]
        assert holm([]) == []

    def test_nothing_exceeds_one_and_the_order_of_the_candidates_changes_nothing(self) -> None:
        ps = [0.5, 0.9, 0.001, 0.2]

        assert max(found for found in holm(ps) if found is not None) == 1.0
        assert holm(ps[::-1]) == holm(ps)[::-1]
