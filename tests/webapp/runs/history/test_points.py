"""Points as arrays: ranges, cuts and outlines, against slow and obvious accounts of them."""

from collections.abc import Mapping

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from tests.runs import new_run
from tests.webapp.runs.history.test_curves import commit, plain
from webapp.accounts.models import Project
from webapp.runs.history import points
from webapp.runs.history.curves import history, overlay, series_names
from webapp.runs.history.envelope import MAX_BUCKETS, STORED_ABOVE, Envelope
from webapp.runs.models import MetricBatch, MetricPoint, MetricSeries, Run

values = st.floats() | st.sampled_from([0.0, -0.0, 1.0, float("nan"), float("inf"), float("-inf")])
curves = st.dictionaries(st.integers(0, 20) | st.integers(7 * MAX_BUCKETS, 7 * MAX_BUCKETS + 9), values, min_size=1, max_size=30)


def outlined(curve: Mapping[int, float], width: int) -> dict[int, tuple[int, int]]:
    """The step of the least and of the greatest value of each bucket, the first of several; NaN only where there is nothing else."""
    buckets: dict[int, tuple[int, int]] = {}
    for bucket in {step // width for step in curve}:
        inside = {step: curve[step] for step in sorted(curve) if step // width == bucket}
        numbers = {step: value for step, value in inside.items() if value == value} or dict.fromkeys(inside, 0.0)
        # An infinite extreme is as good as no number at all: whichever of them comes first is kept.
        least, most = min(numbers.values()), max(numbers.values())
        low = next(
            step for step, value in inside.items() if value == least or (least == np.inf and value != value) or numbers.get(step) == least
        )
        high = next(
            step for step, value in inside.items() if value == most or (most == -np.inf and value != value) or numbers.get(step) == most
        )
        buckets[bucket] = (low, high)
    return buckets


@given(curves)
def test_an_outline_holds_the_first_least_and_the_first_greatest_value_of_each_bucket(curve: dict[int, float]) -> None:
    outline = Envelope.of(np.array(list(curve), np.int64), np.array(list(curve.values())))

    found = {b: steps for b, *steps in zip(outline.bucket.tolist(), outline.low_step.tolist(), outline.high_step.tolist(), strict=True)}
    assert {bucket: tuple(steps) for bucket, steps in found.items()} == outlined(curve, outline.width)
    span = max(curve) // outline.width - min(curve) // outline.width + 1
    assert span <= MAX_BUCKETS
    assert outline.width == 1 or max(curve) // (outline.width // 2) - min(curve) // (outline.width // 2) + 1 > MAX_BUCKETS


def test_an_outline_of_nothing_is_empty_and_nothing_added_changes_nothing() -> None:
    nothing = np.empty(0, np.int64), np.empty(0, np.float64)
    outline = Envelope.of(np.array([3]), np.array([1.0]))

    assert (len(Envelope.of(*nothing)), Envelope.of(*nothing).points()[0].tolist()) == (0, [])
    assert outline.extended(*nothing).to_bytes() == outline.to_bytes()
    assert len(Envelope.from_bytes(Envelope.empty().to_bytes())) == 0


@pytest.fixture
def run(project: Project) -> Run:
    return new_run(project)


class TestRows:
    pytestmark = [pytest.mark.servers, pytest.mark.django_db]

    def test_a_range_includes_both_of_its_ends_and_is_open_where_it_has_none(self, run: Run) -> None:
        commit(run, {"loss": {step: float(step) for step in (0, 1, 5, 9, 2**62)}})
        key = MetricSeries.objects.get().pk

        found = {
            (first, last): points.raw([key], first=first, last=last)[key][0].tolist()
            for first, last in ((None, None), (1, 9), (None, 0), (9, None), (2, 4), (9, 1), (2**62, 2**62))
        }

        assert found == {
            (None, None): [0, 1, 5, 9, 2**62],
            (1, 9): [1, 5, 9],
            (None, 0): [0],
            (9, None): [9, 2**62],
            (2, 4): [],
            (9, 1): [],
            (2**62, 2**62): [2**62],
        }

    def test_values_come_back_bit_for_bit(self, run: Run) -> None:
        odd = [0.1, -0.0, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan")]
        commit(run, {"loss": dict(enumerate(odd))})
        key = MetricSeries.objects.get().pk

        _, found = points.raw([key])[key]

        assert [repr(value) for value in found.tolist()] == [repr(value) for value in odd]

    def test_many_series_with_ranges_of_their_own_are_read_by_one_statement(self, run: Run) -> None:
        commit(run, {f"series {number}": {step: float(number) for step in range(10)} for number in range(5)})
        keys = list(MetricSeries.objects.order_by("name").values_list("pk", flat=True))

        with CaptureQueriesContext(connection) as statements:
            found = points.ranged({key: (number, number + 1) for number, key in enumerate(keys)} | {-1: (None, None)})

        assert len(statements) == 1
        assert [found[key][0].tolist() for key in keys] == [[number, number + 1] for number in range(5)]
        assert [found[key][1].tolist() for key in keys] == [[float(number)] * 2 for number in range(5)]
        assert found[-1][0].tolist() == [] and points.ranged({}) == {}

    def test_a_cut_takes_what_lies_beyond_it_and_series_that_then_have_nothing(self, run: Run) -> None:
        other = new_run(run.project)
        for one in (run, other):
            commit(one, {"loss": {step: float(step) for step in range(1, STORED_ABOVE + 11)}, "late": {5_000: 1.0}, "early": {3: 1.0}})

        points.cut(run.pk, after=STORED_ABOVE, attempt=2)

        rows = {row.name: row for row in MetricSeries.objects.filter(run=run)}
        assert {name: (row.points, row.last_step, row.last_value) for name, row in rows.items()} == {
            "loss": (STORED_ABOVE, STORED_ABOVE, float(STORED_ABOVE)),
            "early": (1, 3, 1.0),
        }
        assert (rows["loss"].overview, rows["loss"].overview_step) == (None, None)
        assert MetricPoint.objects.filter(series__run=other).count() == STORED_ABOVE + 12
        batch = MetricBatch.objects.get(run=run, cut_after__isnull=False)
        assert (batch.number, batch.cut_after, batch.attempt, batch.series) == (2, STORED_ABOVE, 2, None)

    def test_of_several_cuts_the_deepest_is_told_with_all_that_came_after(self, run: Run) -> None:
        commit(run, {"loss": dict.fromkeys(range(1, 10), 1.0)})
        points.cut(run.pk, after=3, attempt=2)
        commit(run, {"loss": {4: 2.0, 5: 2.0}})
        points.cut(run.pk, after=4, attempt=3)
        commit(run, {"loss": {5: 3.0}})

        news = points.since(run.pk, 1)

        key = MetricSeries.objects.get().pk
        assert (news.number, news.cut_after, dict(news.ranges)) == (5, 3, {key: (4, 5)})
        assert plain(history(run, after="1").series["loss"]) == {4: 2.0, 5: 3.0}

    def test_what_is_new_is_told_within_the_steps_that_were_asked_for(self, run: Run) -> None:
        commit(run, {"loss": {1: 1.0}, "other": {1: 1.0}})
        commit(run, {"loss": {step: float(step) for step in range(2, 8)}, "other": {2: 1.0}})

        found = history(run, after="1", first=3, last=5)
        narrow = history(run, after="1", series=["other"])

        assert {name: plain(curve) for name, curve in found.series.items()} == {"loss": {3: 3.0, 4: 4.0, 5: 5.0}}
        assert {name: plain(curve) for name, curve in narrow.series.items()} == {"other": {2: 1.0}}
        assert (found.cursor, history(run, after="99").cursor) == ("2", "99")

    def test_runs_without_curves_have_a_place_in_the_overlay(self, run: Run) -> None:
        other = new_run(run.project)
        commit(run, {"loss": {1: 1.0}})

        found = overlay([run.pk, other.pk])

        assert ({name: plain(curve) for name, curve in found[run.pk].items()}, found[other.pk]) == ({"loss": {1: 1.0}}, {})
        assert (overlay([]), series_names([]), series_names([other.pk])) == ({}, [], [])
