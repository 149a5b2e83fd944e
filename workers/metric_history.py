"""Metric points → rows: COPY in PostgreSQL's binary form, and what is kept beside them (newest values, batches, outlines).

Everything here happens inside the sink's fenced transaction. What is remembered between transactions is only a copy of what is in the
database, and is forgotten when one fails.
"""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
from django.db import IntegrityError, connection, transaction
from numpy.typing import NDArray

from webapp.runs.history import points
from webapp.runs.history.envelope import STORED_ABOVE, Envelope
from webapp.runs.models import MetricSeries
from workers.wire import MetricBlock

NAME_LENGTH = 120
TAIL = 2000
"""Points that a series may have beyond its stored outline before the outline is written again; a sixteenth of a longer series."""

_COPY = "COPY {} (series_id, step, value) FROM STDIN (FORMAT BINARY)"

# `+ added`, and the newest by step, whatever the order in which steps come.
_UPDATE_SERIES = """
UPDATE runs_metricseries s
SET points = s.points + d.added,
    last_value = CASE WHEN s.last_step IS NULL OR d.last >= s.last_step THEN d.value ELSE s.last_value END,
    last_step = greatest(s.last_step, d.last)
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::float8[]) AS d(id, added, last, value)
WHERE s.id = d.id
"""

_INSERT_BATCHES = """
INSERT INTO runs_metricbatch (run_id, number, attempt, series_id, first_step, last_step, points)
SELECT %s, %s, %s, d.id, d.first, d.last, d.added FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[]) AS d(id, first, last, added)
"""

# Only rows that were not there count as added. xmax is 0 for them.
_UPSERT = """
WITH written AS (
    INSERT INTO runs_metricpoint (series_id, step, value) SELECT series_id, step, value FROM arriving
    ON CONFLICT (series_id, step) DO UPDATE SET value = excluded.value
    RETURNING series_id, xmax = 0 AS fresh
)
SELECT series_id, count(*) FILTER (WHERE fresh) FROM written GROUP BY series_id
"""


@dataclass
class Known:
    """What is known of one series: how many points it has, and its outline when that is kept (`stored`: up to which step, and at how many points)."""

    id: int
    points: int
    envelope: Envelope | None = None
    stored_step: int | None = None
    stored_points: int = 0


@dataclass
class HistoryWriter:
    """The points of one run, written by one attempt."""

    run_id: UUID
    attempt: int
    _known: dict[str, Known] = field(default_factory=dict)

    def forget(self) -> None:
        """A transaction failed: what was remembered may never have happened."""
        self._known.clear()

    def write(self, blocks: list[MetricBlock], number: int) -> None:
        """Writes the blocks' points as batch `number`. Of two values for one step the later one wins, here and in the database."""
        names = dict.fromkeys(name[:NAME_LENGTH] for block in blocks for name in block.names)
        self._learn([name for name in names if name not in self._known])
        rows, starts = self._rows(blocks)
        ids, stops = rows["series"][starts].astype(np.int64), np.r_[starts[1:], len(rows)]
        added, replaced = self._copy(rows, ids, stops - starts)

        steps, values = rows["step"].astype(np.int64), rows["value"].astype(np.float64)
        last = stops - 1
        with connection.cursor() as cursor:
            cursor.execute(_UPDATE_SERIES, [ids.tolist(), added.tolist(), steps[last].tolist(), values[last].tolist()])
            cursor.execute(
                _INSERT_BATCHES,
                [self.run_id, number, self.attempt, ids.tolist(), steps[starts].tolist(), steps[last].tolist(), (stops - starts).tolist()],
            )
        by_id = {known.id: known for known in self._known.values()}
        for series_id, start, stop, count in zip(ids.tolist(), starts.tolist(), stops.tolist(), added.tolist(), strict=True):
            known = by_id[series_id]
            known.points += count
            if replaced:
                points.rebuild_overview(MetricSeries.objects.get(pk=series_id))  # a value that is no longer there may be an extreme
                self.forget()
            else:
                self._outline(known, steps[start:stop], values[start:stop])

    def finish(self) -> None:
        """Stores the outlines of all long series up to their ends: an ended run is read without a tail."""
        long = MetricSeries.objects.filter(run_id=self.run_id, points__gt=STORED_ABOVE).values_list("name", flat=True)
        self._learn([name for name in long if name not in self._known])
        for known in self._known.values():
            if known.points > STORED_ABOVE and known.stored_points < known.points:
                self._store(known)

    def _learn(self, names: list[str]) -> None:
        """Makes the series of these names that are not there yet, and remembers all of them."""
        if not names:
            return
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO runs_metricseries (run_id, name, points) SELECT %s, name, 0 FROM unnest(%s::text[]) AS name ON CONFLICT DO NOTHING",
                [self.run_id, names],
            )
        for row in MetricSeries.objects.filter(run_id=self.run_id, name__in=names):
            known = Known(row.pk, row.points)
            if row.overview is not None:
                steps, values = points.raw([row.pk], first=(row.overview_step or 0) + 1)[row.pk]
                known.envelope = Envelope.from_bytes(row.overview).extended(steps, values)
                known.stored_step, known.stored_points = row.overview_step, row.points - len(steps)
            self._known[row.name] = known

    def _rows(self, blocks: list[MetricBlock]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """All points as COPY's rows, ordered by series and step, each once; and where each series begins."""
        series = np.concatenate(
            [np.tile([self._known[name[:NAME_LENGTH]].id for name in block.names], len(block.steps)) for block in blocks]
        )
        step = np.concatenate([np.repeat(block.steps, len(block.names)) for block in blocks])
        value = np.concatenate([block.values.ravel() for block in blocks])
        order = np.lexsort((step, series))  # stable: of equal ones, the later comes last
        series, step, value = series[order], step[order], value[order]
        keep = np.r_[(series[1:] != series[:-1]) | (step[1:] != step[:-1]), True]
        series, step, value = series[keep], step[keep], value[keep]
        rows = np.empty(len(series), points.ROW)
        rows["fields"], rows["n1"], rows["n2"], rows["n3"] = 3, 8, 8, 8
        rows["series"], rows["step"], rows["value"] = series, step, value
        return rows, np.flatnonzero(np.r_[True, series[1:] != series[:-1]])

    def _copy(self, rows: NDArray[Any], ids: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], bool]:
        """Writes the rows; how many of each series were new, and whether any replaced another.

        Points are new, except when an attempt says a step again; so the fast way is tried first, within a savepoint.
        """
        try:
            with transaction.atomic():
                _copy_into("runs_metricpoint", rows)
            return counts, False
        except IntegrityError:
            with connection.cursor() as cursor:
                cursor.execute("CREATE TEMPORARY TABLE arriving (series_id bigint, step bigint, value float8) ON COMMIT DROP")
                _copy_into("arriving", rows)
                cursor.execute(_UPSERT)
                fresh = dict(cursor.fetchall())
            return np.array([fresh.get(series_id, 0) for series_id in ids.tolist()], np.int64), True

    def _outline(self, known: Known, steps: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Keeps the outline of a long series, and stores it now and then: readers read what lies behind it raw."""
        if known.points <= STORED_ABOVE:
            return
        late = known.stored_step is not None and bool(steps[0] <= known.stored_step)
        if known.envelope is not None or known.points == len(steps):
            known.envelope = (known.envelope or Envelope.empty()).extended(steps, values)
        if late or known.points - known.stored_points >= max(TAIL, known.points // 16):
            self._store(known)

    def _store(self, known: Known) -> None:
        """Saves the outline. It covers all points, so its end is that of the series."""
        if known.envelope is None:
            known.envelope = Envelope.of(*points.raw([known.id])[known.id])
        known.stored_points = known.points
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE runs_metricseries SET overview = %s, overview_step = last_step WHERE id = %s RETURNING last_step",
                [known.envelope.to_bytes(), known.id],
            )
            (known.stored_step,) = cursor.fetchone()


def _copy_into(table: str, rows: NDArray[Any]) -> None:
    """`table` is one of two names in this module."""
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(_COPY.format(table)) as copy:
        copy.write(points.HEADER + rows.tobytes() + points.TRAILER)
