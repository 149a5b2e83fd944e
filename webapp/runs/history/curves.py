"""A run's curves, short enough to draw: never more points than asked for, with every minimum and maximum that such a chart can show."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from django.db.models import QuerySet
from numpy.typing import NDArray
from tsdownsample import MinMaxDownsampler

from engine.errors import SpecError
from webapp.api.parameters import whole_number_in
from webapp.runs.history import points as history_points
from webapp.runs.models import MetricSeries, Run

LEAST_POINTS = 10


@dataclass(frozen=True)
class Curve:
    """steps (n,) int64, rising; values (n,) float64."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class History:
    """Curves by name. A reader drops what it has beyond `cut_after` (None: nothing), merges the curves by step, and keeps the cursor."""

    cursor: str
    cut_after: int | None
    series: Mapping[str, Curve]


def history(
    run: Run,
    *,
    series: Collection[str] | None = None,
    after: str | None = None,
    points: int | None = None,
    first: int | None = None,
    last: int | None = None,
) -> History:
    """The run's curves; those named in `series` when given, with first ≤ step ≤ last, at most `points` (≥ 10) of each, or all of them.

    `after`: the cursor of an earlier response; then only what was written or cut since. A curve may then overlap what the reader has.
    Raises SpecError for a cursor that none was.
    """
    if after is not None:
        return _since(run, _batch_number(after), series, points, first, last)
    # The cursor first: what is committed in between is then sent twice, not never.
    cursor = str(history_points.newest_batch(run.pk))
    rows = list(_named(MetricSeries.objects.filter(run=run).order_by("name"), series))
    whole = first is None and last is None
    found = (
        history_points.outlines(rows)
        if points is not None and whole
        else history_points.raw([row.pk for row in rows], first=first, last=last)
    )
    return History(cursor, None, {row.name: thinned(*found[row.pk], points) for row in rows})


def overlay(run_ids: Sequence[UUID], *, series: Collection[str] | None = None, points: int = 500) -> dict[UUID, dict[str, Curve]]:
    """The curves of several runs, by run and name. Two statements, however many runs and series. The caller has asked for the permission."""
    rows = list(_named(MetricSeries.objects.filter(run__in=run_ids).order_by("name"), series))
    found = history_points.outlines(rows)
    curves: dict[UUID, dict[str, Curve]] = {run_id: {} for run_id in run_ids}
    for row in rows:
        curves[row.run_id][row.name] = thinned(*found[row.pk], points)
    return curves


def series_names(run_ids: Sequence[UUID]) -> list[str]:
    """The names of all series of these runs."""
    return sorted(MetricSeries.objects.filter(run__in=run_ids).order_by().values_list("name", flat=True).distinct())


def thinned(steps: NDArray[np.int64], values: NDArray[np.float64], points: int | None) -> Curve:
    """At most `points` of a curve (all for None): its ends, the first value that is not finite, and each bucket's minimum and maximum."""
    if points is None or len(steps) <= points:
        return Curve(steps, values)
    finite = np.flatnonzero(np.isfinite(values))
    room = (points - 3) // 2 * 2
    extremes = finite if len(finite) <= room else finite[MinMaxDownsampler().downsample(steps[finite], values[finite], n_out=room)]
    first_broken = np.flatnonzero(~np.isfinite(values))[:1]
    chosen = np.union1d(extremes, [0, len(steps) - 1, *first_broken]).astype(np.intp)
    return Curve(steps[chosen], values[chosen])


def _since(run: Run, number: int, series: Collection[str] | None, points: int | None, first: int | None, last: int | None) -> History:
    news = history_points.since(run.pk, number)
    rows = (
        list(_named(MetricSeries.objects.filter(run=run, pk__in=news.ranges).only("id", "name").order_by("name"), series))
        if news.ranges
        else []
    )
    found = history_points.ranged({row.pk: _overlap(news.ranges[row.pk], first, last) for row in rows})
    curves = {row.name: thinned(*found[row.pk], points) for row in rows if len(found[row.pk][0])}
    return History(str(news.number), news.cut_after, curves)


def _named(rows: QuerySet[MetricSeries], names: Collection[str] | None) -> QuerySet[MetricSeries]:
    return rows if names is None else rows.filter(name__in=names)


def _overlap(span: tuple[int, int], first: int | None, last: int | None) -> tuple[int, int]:
    return (span[0] if first is None else max(span[0], first), span[1] if last is None else min(span[1], last))


def _batch_number(cursor: str) -> int:
    number = whole_number_in(cursor)
    if number is None:
        raise SpecError.at("after", f"must be the cursor of an earlier answer; got {cursor!r:.80}.")
    return number
