"""Specifications of charts: plain JSON that is a copy, so that what a method does afterwards changes no page."""

import json
from typing import Any

import pytest

from engine import charts

xs, ys = [1, 2], [0.5, None]
labels, values = ["a", "b"], [1, 2]
cells = [["x", 1.5, None, True]]
grid = [[1.0, None], [2.0, 3.0]]
item = {"text": "said", "pieces": ["sa", "id"], "weights": [0.1, 1]}

SPECS: dict[str, charts.ChartSpec] = {
    "lines": charts.lines("T", {"s": (xs, ys)}, x="step", y="loss", levels={"floor": 0.1}, log_y=True, note="N"),
    "bars": charts.bars("T", labels, {"s": values}, x="class", y="rows", note="N"),
    "histogram": charts.histogram("T", [0, 1, 2], {"s": values}, x="size", log_y=True, note="N"),
    "scatter": charts.scatter("T", {"g": (xs, values)}, x="x", y="y", square=True, note="N"),
    "heatmap": charts.heatmap("T", grid, rows=["r", "s"], columns=labels, x="x", y="y", note="N"),
    "images": charts.images("T", {"row": labels}, columns=["left", "right"], note="N"),
    "texts": charts.texts("T", [item], scale="KL", note="N"),
    "rows": charts.rows("T", ["c"] * 4, cells, note="N"),
}
CONTENT: dict[str, dict[str, Any]] = {
    "lines": {
        "x": "step",
        "y": "loss",
        "log_x": False,
        "log_y": True,
        "levels": {"floor": 0.1},
        "series": {"s": {"x": [1, 2], "y": [0.5, None]}},
    },
    "bars": {"x": "class", "y": "rows", "labels": ["a", "b"], "series": {"s": [1, 2]}},
    "histogram": {"x": "size", "y": "count", "log_y": True, "edges": [0, 1, 2], "counts": {"s": [1, 2]}},
    "scatter": {"x": "x", "y": "y", "square": True, "groups": {"g": {"x": [1, 2], "y": [1, 2]}}},
    "heatmap": {"x": "x", "y": "y", "rows": ["r", "s"], "columns": ["a", "b"], "values": [[1.0, None], [2.0, 3.0]]},
    "images": {"columns": ["left", "right"], "rows": [{"name": "row", "images": ["a", "b"]}]},
    "texts": {"scale": "KL", "items": [{"text": "said", "pieces": ["sa", "id"], "weights": [0.1, 1]}]},
    "rows": {"columns": ["c"] * 4, "cells": [["x", 1.5, None, True]]},
}


def test_every_form_is_tried_here() -> None:
    assert tuple(SPECS) == tuple(CONTENT) == charts.FORMS


@pytest.mark.parametrize("form", SPECS)
def test_a_chart_says_its_form_and_all_that_it_was_given(form: str) -> None:
    assert SPECS[form] == {"view": form, "title": "T", "note": "N", **CONTENT[form]}
    assert json.loads(json.dumps(SPECS[form], allow_nan=False)) == SPECS[form]


def test_what_a_method_does_with_its_lists_afterwards_changes_no_chart() -> None:
    steps, losses, levels, table = [1], [0.5], {"floor": 0.0}, [["x"]]
    made = [
        charts.lines("", {"s": (steps, losses)}, x="", y="", levels=levels),
        charts.bars("", steps, {"s": losses}, x="", y=""),  # type: ignore[arg-type]
        charts.histogram("", losses, {"s": steps}, x=""),
        charts.scatter("", {"s": (steps, losses)}, x="", y=""),
        charts.heatmap("", [losses], rows=steps, columns=steps, x="", y=""),  # type: ignore[arg-type]
        charts.images("", {"s": steps}, columns=steps),  # type: ignore[dict-item, arg-type]
        charts.texts("", [levels]),
        charts.rows("", steps, table),  # type: ignore[arg-type]
    ]
    before = json.dumps(made)

    steps.append(2), losses.append(9.0), levels.update(other=1.0), table[0].append("y"), table.append(["z"])

    assert json.dumps(made) == before


def test_a_chart_that_is_told_nothing_more_has_plain_axes_and_no_note() -> None:
    plain = charts.lines("T", {}, x="x", y="y")

    assert (plain["log_x"], plain["log_y"], plain["levels"], plain["note"], plain["series"]) == (False, False, {}, "", {})
    assert charts.histogram("T", [0, 1], {}, x="x")["log_y"] is False
    assert charts.scatter("T", {}, x="x", y="y")["square"] is False
    assert charts.images("T", {})["columns"] == []
