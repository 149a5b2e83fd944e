"""What a table is told of its rows: the cells that change while runs go on, as the table itself shows them."""

import json
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from django.template.loader import render_to_string

from webapp.runs.table.rows import RunRow, rows_by_id
from webapp.runs.templatetags.shown import metric


def look(project: int, ids: Collection[UUID]) -> dict[UUID, Mapping[str, Any]]:
    """Each row's state as HTML and in a word, and its metrics as text. Those that have gone, or are in the trash, are left out."""
    return {row.id: _cells(row) for row in rows_by_id(project, ids)}


def rows_event(cells: Mapping[UUID, Mapping[str, Any]]) -> str:
    """As a server-sent event."""
    told = {str(run_id): each for run_id, each in cells.items()}
    return f"event: rows\ndata: {json.dumps({'rows': told}, allow_nan=False, separators=(',', ':'))}\n\n"


CHANGED = "event: changed\ndata: {}\n\n"
"""Other runs belong into the table than those that it shows."""


def _cells(row: RunRow) -> Mapping[str, Any]:
    return {
        "state": render_to_string("runs/table/_state.html", {"status": row.status}),
        "word": row.status.word,
        "values": {name: metric(value, name) for name, value in row.metrics.items()},
    }
