"""Charts (`engine.charts`) as pages show them: each by its form and not by its name, bounded, whatever is in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from webapp.figures.engine_charts import figure_of
from webapp.figures.figure import Figure
from webapp.figures.palette import color_of

MOST_ROWS, MOST_TEXTS, MOST_PICTURES = 200, 40, 400
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
class ShownChart:
    """One chart as it is shown: a figure, pictures by row, texts, or columns and cells. A picture is an address that holds its own data."""

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


def charts_of(tables: Mapping[str, Any], *, number: int, first: Sequence[str] = ()) -> list[ShownChart]:
    """Those of the tables that say how they are drawn: those that are named first, then by name."""
    place = {name: index for index, name in enumerate(first)}
    names = sorted(tables, key=lambda name: (place.get(name, len(place)), name))
    found = (_chart(name, tables[name], color_of(number)) for name in names if isinstance(tables[name], Mapping) and "view" in tables[name])
    return [chart for chart in found if chart is not None]


def _chart(name: str, table: Mapping[str, Any], color: str) -> ShownChart | None:
    title, note = str(table.get("title", name)), str(table.get("note", ""))
    match table:
        case {"view": "rows", "columns": [*columns], "cells": [*cells]}:
            shown = tuple(tuple(_words(cell) for cell in row) for row in cells[:MOST_ROWS] if isinstance(row, list))
            more = f", first {MOST_ROWS} of {len(cells):,}" if len(cells) > MOST_ROWS else ""
            return ShownChart(name, title, note + more, columns=tuple(str(column) for column in columns), cells=shown)
        case {"view": "images", "rows": [*rows]}:
            heads = tuple(str(column) for column in table.get("columns", []))
            return ShownChart(name, title, note, columns=heads, pictures=tuple(_pictures(row) for row in rows if isinstance(row, Mapping)))
        case {"view": "texts", "items": [*items]}:
            read = tuple(_item(item) for item in items[:MOST_TEXTS] if isinstance(item, Mapping))
            return ShownChart(name, title, note, items=read, scale=str(table.get("scale", "")))
    drawn = figure_of(table, color=color)
    return ShownChart(name, title, note, figure=drawn) if drawn is not None else None


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
