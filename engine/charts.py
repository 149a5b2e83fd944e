"""Specifications of charts: tables that say how they are drawn, so that a page can show what a method made without knowing the method.

A task puts them into `Judgement.tables`, a method into `Diagnostics.tables` or `save_table`. They are plain JSON: `view` is the form of the
chart, `title` and `note` are for people, and axes have names with units. NaN and infinity are not JSON: None stands where a value is
undefined. No torch, no web.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Number = float | int | None
ChartSpec = dict[str, Any]

FORMS = ("lines", "bars", "histogram", "scatter", "heatmap", "images", "texts", "rows")


def lines(
    title: str,
    series: Mapping[str, tuple[Sequence[Number], Sequence[Number]]],
    *,
    x: str,
    y: str,
    levels: Mapping[str, float] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    note: str = "",
) -> ChartSpec:
    """Curves by name, each (xs, ys). `levels` are horizontal lines by name: a floor, a teacher, a budget."""
    return {
        "view": "lines",
        "title": title,
        "note": note,
        "x": x,
        "y": y,
        "log_x": log_x,
        "log_y": log_y,
        "levels": dict(levels or {}),
        "series": {name: {"x": list(xs), "y": list(ys)} for name, (xs, ys) in series.items()},
    }


def bars(title: str, labels: Sequence[str], series: Mapping[str, Sequence[Number]], *, x: str, y: str, note: str = "") -> ChartSpec:
    """A group of bars for each label, one bar a name."""
    series_lists = {name: list(values) for name, values in series.items()}
    return {"view": "bars", "title": title, "note": note, "x": x, "y": y, "labels": list(labels), "series": series_lists}


def histogram(
    title: str,
    edges: Sequence[float],
    counts: Mapping[str, Sequence[int]],
    *,
    x: str,
    y: str = "count",
    log_y: bool = False,
    note: str = "",
) -> ChartSpec:
    """Counts between neighboring edges (one more of these than counts), a set of bars a name. `log_y` where few far from the rest matter."""
    return {
        "view": "histogram",
        "title": title,
        "note": note,
        "x": x,
        "y": y,
        "log_y": log_y,
        "edges": list(edges),
        "counts": {name: list(values) for name, values in counts.items()},
    }


def scatter(
    title: str, groups: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x: str, y: str, square: bool = False, note: str = ""
) -> ChartSpec:
    """Points by group, each (xs, ys). `square`: both axes in one scale, for points of a plane."""
    points = {name: {"x": list(xs), "y": list(ys)} for name, (xs, ys) in groups.items()}
    return {"view": "scatter", "title": title, "note": note, "x": x, "y": y, "square": square, "groups": points}


def heatmap(
    title: str, values: Sequence[Sequence[Number]], *, rows: Sequence[str], columns: Sequence[str], x: str, y: str, note: str = ""
) -> ChartSpec:
    """A cell for each row and column."""
    return {
        "view": "heatmap",
        "title": title,
        "note": note,
        "x": x,
        "y": y,
        "rows": list(rows),
        "columns": list(columns),
        "values": [list(row) for row in values],
    }


def images(title: str, rows: Mapping[str, Sequence[str]], *, columns: Sequence[str] = (), note: str = "") -> ChartSpec:
    """Rows of pictures by name, each a `data:image/png` address of `engine.pictures`; `columns` name them from the left."""
    return {
        "view": "images",
        "title": title,
        "note": note,
        "columns": list(columns),
        "rows": [{"name": name, "images": list(each)} for name, each in rows.items()],
    }


def texts(title: str, items: Sequence[Mapping[str, Any]], *, scale: str = "", note: str = "") -> ChartSpec:
    """Texts to read. An item has `text`, and may have `label`, `prompt` (shown before it, in gray), `pieces` with `weights`: the text in parts,
    each with a number 0…1 that its background shows, named by `scale`."""
    return {"view": "texts", "title": title, "note": note, "scale": scale, "items": [dict(item) for item in items]}


def rows(title: str, columns: Sequence[str], cells: Sequence[Sequence[str | Number | bool]], *, note: str = "") -> ChartSpec:
    """A plain table. A cell with a `data:image/png` address is drawn as its picture."""
    return {"view": "rows", "title": title, "note": note, "columns": list(columns), "cells": [list(row) for row in cells]}
