"""A run's curves: cursors, cuts, and what survives thinning."""

from collections.abc import Mapping

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import SpecError
from tests.runs import new_run
from webapp.accounts.models import Project
from webapp.runs.history import points
from webapp.runs.history.curves import Curve, history, overlay, series_names, thinned
from webapp.runs.models import MetricBatch, MetricPoint, MetricSeries, Run

needs_servers = [pytest.mark.servers, pytest.mark.django_db]


def commit(run: Run, curves: Mapping[str, Mapping[int, float]]) -> None:
    """One batch, as the sink writes it."""
    number = points.newest_batch(run.pk) + 1
    for name, values in curves.items():
        series, _ = MetricSeries.objects.get_or_create(run=run, name=name)
        MetricPoint.objects.bulk_create([MetricPoint(series=series, step=step, value=value) for step, value in values.items()])
        MetricBatch.objects.create(
            run=run, number=number, attempt=1, series=series, first_step=min(values), last_step=max(values), points=len(values)
        )
        points.rebuild_overview(series)


def plain(curve: Curve) -> dict[int, float]:
    return dict(zip(curve.steps.tolist(), curve.values.tolist(), strict=True))


@pytest.fixture
def run(project: Project) -> Run:
    return new_run(project)


class TestHistory:
    pytestmark = needs_servers

    def test_a_run_without_points_has_no_curves(self, run: Run) -> None:
        found = history(run)

        assert (found.cursor, found.cut_after, dict(found.series)) == ("0", None, {})

    def test_all_curves_come_at_first(self, run: Run) -> None:
        commit(run, {"loss": {1: 0.9, 2: 0.8}, "validation/accuracy": {2: 0.5}})

        found = history(run)

        assert {name: plain(curve) for name, curve in found.series.items()} == {"loss": {1: 0.9, 2: 0.8}, "validation/accuracy": {2: 0.5}}

    def test_only_what_was_asked_for_comes(self, run: Run) -> None:
        commit(run, {"loss": {1: 0.9, 2: 0.8, 3: 0.7, 4: 0.6}, "other": {1: 0.0}})

        found = history(run, series=["loss", "unheard of"], first=2, last=3)

        assert {name: plain(curve) for name, curve in found.series.items()} == {"loss": {2: 0.8, 3: 0.7}}

    def test_after_the_cursor_only_what_is_newer_comes(self, run: Run) -> None:
        commit(run, {"loss": {1: 0.9}, "other": {1: 0.0}})
        cursor = history(run).cursor
        commit(run, {"loss": {2: 0.8}})

        found = history(run, after=cursor)

        assert {name: plain(curve) for name, curve in found.series.items()} == {"loss": {2: 0.8}}
        assert dict(history(run, after=found.cursor).series) == {}

    def test_a_cut_is_told_once_with_what_follows_it(self, run: Run) -> None:
        commit(run, {"loss": {1: 0.9, 2: 0.8, 3: 0.7}})
        cursor = history(run).cursor
        points.cut(run.pk, after=1, attempt=2)
        commit(run, {"loss": {2: 0.5}})

        found = history(run, after=cursor)

        assert (found.cut_after, plain(found.series["loss"])) == (1, {2: 0.5})
        assert history(run, after=found.cursor).cut_after is None

    def test_a_reader_that_follows_the_cursors_has_what_a_new_reader_gets(self, run: Run) -> None:
        seen: dict[int, float] = {}
        cursor = "0"
        for deed in (
            lambda: commit(run, {"loss": {1: 0.9, 2: 0.8, 3: 0.7}}),
            lambda: points.cut(run.pk, after=2, attempt=2),
            lambda: commit(run, {"loss": {3: 0.6, 4: 0.5}}),
            lambda: points.cut(run.pk, after=0, attempt=3),
            lambda: commit(run, {"loss": {1: 0.4}}),
        ):
            deed()
            news = history(run, after=cursor)
            seen = {step: value for step, value in seen.items() if news.cut_after is None or step <= news.cut_after}
            seen |= plain(news.series["loss"]) if "loss" in news.series else {}
            cursor = news.cursor

        assert seen == plain(history(run).series["loss"]) == {1: 0.4}

    @pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "٣", "9" * 30])
    def test_a_cursor_that_none_was_is_refused(self, run: Run, cursor: str) -> None:
        with pytest.raises(SpecError) as refused:
            history(run, after=cursor)

        assert [(problem.field, problem.message) for problem in refused.value.problems] == [
            ("after", f"must be the cursor of an earlier answer; got {cursor!r}.")
        ]

    def test_a_long_curve_is_told_with_few_points_and_its_extremes(self, run: Run) -> None:
        values = {step: float(np.sin(step / 50)) for step in range(1, 5001)}
        values[2345], values[4321] = 99.0, -99.0
        commit(run, {"loss": values})

        curve = history(run, points=100).series["loss"]

        found = plain(curve)
        assert len(curve) <= 100
        assert (found[2345], found[4321]) == (99.0, -99.0)
        assert {1, 5000} <= found.keys()

    def test_first_read_takes_three_statements_whatever_the_number_of_series(self, run: Run) -> None:
        commit(run, {f"series {index}": {1: 0.1} for index in range(8)})

        with CaptureQueriesContext(connection) as statements:
            history(run, points=100)

        assert len(statements) == 3


class TestOverlay:
    pytestmark = needs_servers

    def test_the_curves_of_several_runs_take_two_statements(self, project: Project) -> None:
        runs = [new_run(project) for _ in range(3)]
        for index, run in enumerate(runs):
            commit(run, {"loss": {1: float(index)}, "other": {1: 0.0}})

        with CaptureQueriesContext(connection) as statements:
            found = overlay([run.pk for run in runs], series=["loss"])

        assert [plain(found[run.pk]["loss"]) for run in runs] == [{1: 0.0}, {1: 1.0}, {1: 2.0}]
        assert len(statements) == 2

    def test_the_names_of_series_are_those_of_any_run(self, project: Project) -> None:
        one, two = new_run(project), new_run(project)
        commit(one, {"b": {1: 0.0}})
        commit(two, {"a": {1: 0.0}, "b": {1: 0.0}})

        assert series_names([one.pk, two.pk]) == ["a", "b"]


class TestThinning:
    def test_a_short_curve_stays_as_it_is(self) -> None:
        curve = thinned(np.arange(10), np.arange(10.0), 10)

        assert plain(curve) == {step: float(step) for step in range(10)}

    def test_the_first_value_that_is_not_finite_stays(self) -> None:
        values = np.ones(1000)
        values[700:] = np.nan

        curve = thinned(np.arange(1000), values, 20)

        assert 700 in curve.steps and np.isnan(curve.values[curve.steps == 700]).all()

    def test_a_curve_of_nothing_but_nan_keeps_its_ends(self) -> None:
        curve = thinned(np.arange(1000), np.full(1000, np.nan), 20)

        assert curve.steps.tolist() == [0, 999]

    @settings(max_examples=50)
    @given(
        values=st.lists(st.floats(-1e6, 1e6) | st.sampled_from([float("nan"), float("inf")]), min_size=1, max_size=400),
        limit=st.integers(10, 100),
    )
    def test_thinning_keeps_the_ends_the_extremes_and_the_limit(self, values: list[float], limit: int) -> None:
        steps, array = np.arange(len(values)) * 3, np.array(values)

        curve = thinned(steps, array, limit)

        finite = array[np.isfinite(array)]
        kept = curve.values[np.isfinite(curve.values)]
        assert len(curve) <= limit
        assert (np.diff(curve.steps) > 0).all()
        assert (curve.steps[0], curve.steps[-1]) == (steps[0], steps[-1])
        assert not finite.size or (kept.min(), kept.max()) == (finite.min(), finite.max())
