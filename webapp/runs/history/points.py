"""A run's metric history as arrays: what a reader asks of it, and what a new attempt cuts off.

A series is read as two byte strings that PostgreSQL strings together, steps and values in network order, so a million points cost no
Python loop (0.2 s; reading rows by COPY took 0.9 s). Nothing here thins a curve out except by the stored envelope; `curves.py` makes charts from it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import numpy as np
from django.db import connection
from django.db.models import Max, Min
from numpy.typing import NDArray

from webapp.runs.history.envelope import STORED_ABOVE, Envelope
from webapp.runs.models import MetricBatch, MetricSeries

Steps = NDArray[np.int64]
Values = NDArray[np.float64]
Points = tuple[Steps, Values]
T = TypeVar("T", bound=np.generic)

NOTHING: Points = (np.empty(0, np.int64), np.empty(0, np.float64))

# One row of COPY (FORMAT BINARY): the number of fields, then each field's length before it.
ROW = np.dtype([("fields", ">i2"), ("n1", ">i4"), ("series", ">i8"), ("n2", ">i4"), ("step", ">i8"), ("n3", ">i4"), ("value", ">f8")])
HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"

# The inner query's order is that of the primary key, and the aggregates keep it.
_RANGES = """
SELECT wanted.id, found.steps, found.vals
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS wanted(id, first, last)
CROSS JOIN LATERAL (
    SELECT string_agg(int8send(step), '') AS steps, string_agg(float8send(value), '') AS vals
    FROM (
        SELECT step, value FROM runs_metricpoint WHERE series_id = wanted.id AND step BETWEEN wanted.first AND wanted.last ORDER BY step
    ) AS points
) AS found
"""


@dataclass(frozen=True)
class Changes:
    """What was committed after a batch number.

    `number` is the newest batch (the next cursor). Drop all points beyond `cut_after` first (None: nothing was cut), then merge the points
    of `ranges`, series id → (first step, last step), by step: they may overlap what the reader has.
    """

    number: int
    cut_after: int | None
    ranges: Mapping[int, tuple[int, int]]


def newest_batch(run_id: UUID) -> int:
    """The number of the newest committed batch of a run; 0 when there is none."""
    return MetricBatch.objects.filter(run_id=run_id).aggregate(newest=Max("number"))["newest"] or 0


def since(run_id: UUID, number: int) -> Changes:
    """What batches with numbers above `number` changed. Two statements, whatever the number of batches."""
    later = MetricBatch.objects.filter(run_id=run_id, number__gt=number)
    marks = later.aggregate(newest=Max("number"), cut=Min("cut_after"))
    rows = (
        later.filter(series__isnull=False, number__lte=marks["newest"] or 0)
        .values("series_id")
        .annotate(first=Min("first_step"), last=Max("last_step"))
    )
    ranges = {row["series_id"]: (row["first"], row["last"]) for row in rows.order_by()}
    return Changes(number=marks["newest"] or number, cut_after=marks["cut"], ranges=ranges)


def raw(series_ids: Collection[int], *, first: int | None = None, last: int | None = None) -> dict[int, Points]:
    """Every point of these series with first ≤ step ≤ last, by series id, ordered by step. A series with no such point gets empty arrays."""
    return ranged(dict.fromkeys(series_ids, (first, last)))


def ranged(ranges: Mapping[int, tuple[int | None, int | None]]) -> dict[int, Points]:
    """Every point of each series within its own range of steps (ends included; None is open), by series id, ordered by step. One statement."""
    if not ranges:
        return {}
    ids = list(ranges)
    firsts, lasts = ([_least(ranges[key][0]) for key in ids], [_greatest(ranges[key][1]) for key in ids])
    with connection.cursor() as cursor:
        cursor.execute(_RANGES, [ids, firsts, lasts])
        rows = cursor.fetchall()
    return {
        key: NOTHING if steps is None else (_numbers(steps, ">i8", np.int64), _numbers(values, ">f8", np.float64))
        for key, steps, values in rows
    }


def outlines(series: Collection[MetricSeries]) -> dict[int, Points]:
    """Each whole series, by id, short enough to draw: raw when it has few points, else the stored envelope's extremes and the raw tail behind it.

    Needs `points`, `overview` and `overview_step` of each row. One statement for all tails.
    """
    tails = ranged({row.pk: (None if row.overview is None else _after(row.overview_step), None) for row in series})
    curves = {}
    for row in series:
        steps, values = tails[row.pk]
        if row.overview is not None:
            old_steps, old_values = Envelope.from_bytes(row.overview).points()
            steps, values = np.concatenate([old_steps, steps]), np.concatenate([old_values, values])
        curves[row.pk] = (steps, values)
    return curves


def rebuild_overview(series: MetricSeries) -> None:
    """Makes the stored envelope from all points again, or removes it when they are few. Saves the row."""
    steps, values = raw([series.pk])[series.pk]
    series.points = len(steps)
    series.last_step = int(steps[-1]) if len(steps) else None
    series.last_value = float(values[-1]) if len(steps) else None
    long = len(steps) > STORED_ABOVE
    series.overview = Envelope.of(steps, values).to_bytes() if long else None
    series.overview_step = series.last_step if long else None
    series.save(update_fields=["points", "last_step", "last_value", "overview", "overview_step"])


def cut(run_id: UUID, *, after: int, attempt: int) -> None:
    """Removes what lies beyond a step, because a new attempt goes on from there, and lets readers know by a batch of its own.

    Called inside the transaction in which the attempt starts. History is then that of one trajectory, each step once.
    """
    number = newest_batch(run_id) + 1  # before the batches of emptied series go with them: the cursor never runs backwards
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM runs_metricpoint p USING runs_metricseries s WHERE s.run_id = %s AND p.series_id = s.id AND p.step > %s",
            [run_id, after],
        )
    for series in MetricSeries.objects.filter(run_id=run_id, last_step__gt=after):
        rebuild_overview(series)
    MetricSeries.objects.filter(run_id=run_id, points=0).delete()
    MetricBatch.objects.create(run_id=run_id, number=number, attempt=attempt, cut_after=after)


def _numbers(data: bytes | memoryview, layout: str, kind: type[T]) -> NDArray[T]:
    return np.frombuffer(data, layout).astype(kind)


def _after(step: int | None) -> int | None:
    return None if step is None else step + 1


def _least(step: int | None) -> int:
    return -(2**63) if step is None else step


def _greatest(step: int | None) -> int:
    return 2**63 - 1 if step is None else step
