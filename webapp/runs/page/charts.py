"""A closer look at a run: the views that its task and its method left, each shown by its form (`engine.charts`) and not by its name."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any
from uuid import UUID

from django.http import Http404

from webapp.artifacts import store
from webapp.figures.figure import Figure
from webapp.figures.palette import color_of
from webapp.figures.views import figure_of
from webapp.runs.models import Artifact, Evaluation, Run

MOST_ROWS, MOST_TEXTS, MOST_PICTURES = 200, 40, 400
MOST_BYTES = 1_000_000
MOST_ARTIFACTS = 24
KEPT_BYTES = 8_000_000
"""Of the files whose tables a process keeps; as objects they take some times as much."""
NOTHING = 200
"""Bytes of an entry that says of an artifact that it is no view."""
PICTURE = "data:image/png;base64,"
SHADES = 10


@dataclass(frozen=True)
class Piece:
    """A part of a text with the shade of its weight, 0…9; None for no weight."""

    text: str
    shade: int | None


@dataclass(frozen=True)
class Item:
    """One text to read."""

    label: str
    prompt: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class View:
    """One view as it is shown: a figure, pictures by row, texts, or columns and cells. A picture is an address that holds its own data."""

    id: str
    title: str
    note: str
    figure: Figure | None = None
    columns: tuple[str, ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()
    pictures: tuple[tuple[str, tuple[str, ...]], ...] = ()
    items: tuple[Item, ...] = ()
    scale: str = ""

    @property
    def own_id(self) -> str:
        """Of its figure on the page, where a judgement's may have the same name."""
        return f"own-{self.id}"


def tables_of(run: Run) -> dict[str, Any]:
    """All views of a run by name: of the evaluation that it is judged by, of the newest validation, and among its artifacts.

    An artifact is the method's last word: it stands in for a table of the same name.
    """
    student = Evaluation.objects.filter(run=run, subject="student")
    validated = student.filter(split="validation").order_by("-step", "-final").first()
    tested = student.filter(split="test", final=True).order_by("-step").first()
    tables = {name: table for one in (validated, tested) if one is not None for name, table in one.tables.items()}
    artifacts = Artifact.objects.filter(run=run, kind="table", bytes__lte=MOST_BYTES).order_by("name", "-attempt").distinct("name")
    return tables | {one.name: table for one in artifacts[:MOST_ARTIFACTS] if (table := _read.of(one)) is not None}


def views_of(tables: Mapping[str, Any], *, number: int, first: Sequence[str] = ()) -> list[View]:
    """Those of the tables that say how they are drawn: those that are named first, then by name."""
    place = {name: index for index, name in enumerate(first)}
    names = sorted(tables, key=lambda name: (place.get(name, len(place)), name))
    found = (_view(name, tables[name], color_of(number)) for name in names if isinstance(tables[name], Mapping) and "view" in tables[name])
    return [view for view in found if view is not None]


def _view(name: str, table: Mapping[str, Any], color: str) -> View | None:
    title, note = str(table.get("title", name)), str(table.get("note", ""))
    match table:
        case {"view": "rows", "columns": [*columns], "cells": [*cells]}:
            shown = tuple(tuple(_words(cell) for cell in row) for row in cells[:MOST_ROWS] if isinstance(row, list))
            more = f", first {MOST_ROWS} of {len(cells):,}" if len(cells) > MOST_ROWS else ""
            return View(name, title, note + more, columns=tuple(str(column) for column in columns), cells=shown)
        case {"view": "images", "rows": [*rows]}:
            heads = tuple(str(column) for column in table.get("columns", []))
            return View(name, title, note, columns=heads, pictures=tuple(_pictures(row) for row in rows if isinstance(row, Mapping)))
        case {"view": "texts", "items": [*items]}:
            read = tuple(_item(item) for item in items[:MOST_TEXTS] if isinstance(item, Mapping))
            return View(name, title, note, items=read, scale=str(table.get("scale", "")))
    drawn = figure_of(table, color=color)
    return View(name, title, note, figure=drawn) if drawn is not None else None


def _pictures(row: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    images = row.get("images", [])
    return str(row.get("name", "")), tuple(one for one in images[:MOST_PICTURES] if isinstance(one, str) and one.startswith(PICTURE))


def _item(item: Mapping[str, Any]) -> Item:
    pieces, weights = item.get("pieces"), item.get("weights")
    if isinstance(pieces, list) and isinstance(weights, list) and len(pieces) == len(weights):
        parts = tuple(Piece(str(piece), _shade(weight)) for piece, weight in zip(pieces, weights, strict=True))
    else:
        parts = (Piece(str(item.get("text", "")), None),)
    return Item(str(item.get("label", "")), str(item.get("prompt", "")), parts)


def _shade(weight: Any) -> int | None:
    return None if not isinstance(weight, int | float) else max(0, min(SHADES - 1, int(weight * SHADES)))


def _words(value: Any) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case int():
            return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return str(value)


def _content(artifact: Artifact) -> dict[str, Any] | None:
    """The table in the store; None where it is no view. Raises Http404 or OSError where it can't be read."""
    try:
        table = store.parsed(store.resolve(artifact.path).read_bytes())
    except (ValueError, RecursionError):
        return None
    return table if isinstance(table, dict) and "view" in table else None


class _Kept:
    """Artifacts' tables that were read, since a page asks again at each of a run's evaluations. An artifact never changes. The longest unasked
    go first, when together they are of more than `most_bytes`; of one that is no view only that is kept."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._held, self._bytes, self._lock = most_bytes, OrderedDict[UUID, tuple[int, dict[str, Any] | None]](), 0, Lock()

    def of(self, artifact: Artifact) -> dict[str, Any] | None:
        """The artifact's table; None where it can't be read now, which is asked again, or is no view."""
        with self._lock:
            if artifact.pk in self._held:
                self._held.move_to_end(artifact.pk)
                return self._held[artifact.pk][1]
        try:
            table = _content(artifact)
        except (Http404, OSError):
            return None
        with self._lock:
            if artifact.pk not in self._held:
                size = artifact.bytes if table is not None else NOTHING
                self._held[artifact.pk] = (size, table)
                self._bytes += size
                while self._bytes > self._most:
                    self._bytes -= self._held.popitem(last=False)[1][0]
        return table


_read = _Kept(KEPT_BYTES)
