"""Points → rows, against a slow and obvious account of what should be there."""

from typing import Any

import numpy as np
import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runs import new_project, new_run
from webapp.runs.history import points
from webapp.runs.history.envelope import Envelope
from webapp.runs.models import MetricSeries, Run
from workers.metric_history import NAME_LENGTH, TAIL, HistoryWriter
from workers.wire import MetricBlock

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

Curves = dict[str, dict[int, float]]

blocks = st.builds(
    lambda names, rows: MetricBlock(
        tuple(names), np.array([step for step, _ in rows], np.int64), np.array([values[: len(names)] for _, values in rows], np.float64)
    ),
    st.lists(st.sampled_from(["loss", "loss/kd", "λ"]), min_size=1, max_size=2, unique=True),
    st.lists(st.tuples(st.integers(0, 12), st.tuples(st.floats(), st.floats())), min_size=1, max_size=4),
)


def write(writer: HistoryWriter, *batch: MetricBlock) -> None:
    with transaction.atomic():
        writer.write(list(batch), points.newest_batch(writer.run_id) + 1)


def block(name: str, first: int, last: int, value: float = 1.0) -> MetricBlock:
    steps = np.arange(first, last + 1)
    return MetricBlock((name,), steps, (value * steps.astype(np.float64))[:, None])


def series(run: Run, name: str = "loss") -> MetricSeries:
    return MetricSeries.objects.get(run=run, name=name)


def stored(run: Run) -> dict[str, list[tuple[int, str]]]:
    rows = {row.pk: row.name for row in MetricSeries.objects.filter(run=run)}
    return {
        rows[key]: [(step, repr(value)) for step, value in zip(steps.tolist(), values.tolist(), strict=True)]
        for key, (steps, values) in points.raw(rows).items()
    }


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(st.lists(blocks, min_size=1, max_size=3), st.booleans()), min_size=1, max_size=4))
def test_of_whatever_was_written_the_last_word_on_each_step_is_there(batches: list[tuple[list[MetricBlock], bool]]) -> None:
    run = new_run(new_project())
    writer, expected = HistoryWriter(run.pk, 1), {}
    for batch, forgets in batches:
        write(writer, *batch)
        for one in batch:
            for step, values in zip(one.steps.tolist(), one.values.tolist(), strict=True):
                for name, value in zip(one.names, values, strict=True):
                    expected.setdefault(name, {})[step] = value
        if forgets:
            writer = HistoryWriter(run.pk, 2)  # a new attempt knows nothing of the one before

    assert stored(run) == {name: [(step, repr(curve[step])) for step in sorted(curve)] for name, curve in expected.items()}
    for row in MetricSeries.objects.filter(run=run):
        curve = expected[row.name]
        last = curve[max(curve)]
        assert (row.points, row.last_step) == (len(curve), max(curve))
        assert row.last_value == last or repr(row.last_value) == repr(last)  # 0 and −0 are one value, and NaN is none
    news = points.since(run.pk, 0)
    assert news.number == len(batches)
    assert {
        key: (min(expected[name]), max(expected[name]))
        for key, name in MetricSeries.objects.values_list("pk", "name")
        if key in news.ranges
    } == dict(news.ranges)


@pytest.fixture
def run(db: None) -> Run:
    return new_run(new_project())


def test_a_series_that_grows_by_little_gets_the_outline_of_all_its_points(run: Run) -> None:
    writer = HistoryWriter(run.pk, 1)
    for first in range(1, 2401, 800):
        write(writer, block("loss", first, first + 799, value=(-1.0) ** first))

    row = series(run)

    steps, values = points.raw([row.pk])[row.pk]
    assert row.overview is not None
    assert (row.points, row.overview_step) == (2400, 2400)
    assert bytes(row.overview) == Envelope.of(steps, values).to_bytes()


def test_the_outline_is_written_again_when_enough_has_come_after_it(run: Run) -> None:
    writer = HistoryWriter(run.pk, 1)
    ends = []
    for first, last in ((1, 2500), (2501, 2501 + TAIL - 2), (2500 + TAIL, 2500 + TAIL)):
        write(writer, block("loss", first, last))
        ends.append(series(run).overview_step)

    assert ends == [2500, 2500, 2500 + TAIL]


def test_a_new_attempt_goes_on_with_the_outline_that_it_finds(run: Run) -> None:
    write(HistoryWriter(run.pk, 1), block("loss", 1, 2500))
    write(HistoryWriter(run.pk, 1), block("loss", 2501, 2600, value=-1.0))
    writer = HistoryWriter(run.pk, 2)
    write(writer, block("loss", 2601, 2700))
    tail = series(run).overview_step

    with transaction.atomic():
        writer.finish()

    row = series(run)
    steps, values = points.raw([row.pk])[row.pk]
    assert row.overview is not None
    assert (tail, row.overview_step) == (2500, 2700)
    assert bytes(row.overview) == Envelope.of(steps, values).to_bytes()


def test_the_end_completes_outlines_of_series_that_this_attempt_has_not_touched_and_of_no_short_ones(run: Run) -> None:
    first = HistoryWriter(run.pk, 1)
    write(first, block("loss", 1, 2500), block("short", 1, 2000), block("other", 1, 2500))
    write(first, block("loss", 2501, 2510))

    with transaction.atomic():
        HistoryWriter(run.pk, 2).finish()

    assert [series(run, name).overview_step for name in ("loss", "short", "other")] == [2510, None, 2500]


def test_names_beyond_what_a_column_holds_are_cut_and_those_that_are_then_alike_are_one_series(run: Run) -> None:
    long = "l" * NAME_LENGTH

    write(HistoryWriter(run.pk, 1), block(long + "a", 1, 2), block(long + "b", 2, 3, value=5.0))

    assert stored(run) == {long: [(1, "1.0"), (2, "10.0"), (3, "15.0")]}
    assert series(run, long).points == 3


def test_a_transaction_that_failed_leaves_nothing_and_what_was_remembered_of_it_is_forgotten(run: Run) -> None:
    writer = HistoryWriter(run.pk, 1)

    def failing(batch: Any) -> None:
        with transaction.atomic():
            writer.write([batch], 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing(block("loss", 1, 3))
    writer.forget()
    write(writer, block("loss", 2, 2))

    assert stored(run) == {"loss": [(2, "2.0")]}
    assert (series(run).points, points.newest_batch(run.pk)) == (1, 1)
