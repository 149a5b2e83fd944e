"""A method's own view of its training: the tables that its diagnostics leave, each drawn by its form and not by its name."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import Http404

from webapp.figures.diagnostics import histogram, paired_bars
from webapp.figures.figure import Figure
from webapp.figures.palette import color_of
from webapp.runs import store
from webapp.runs.models import Artifact, Evaluation, Run

JUDGEMENTS = frozenset(
    {
        "reliability",
        "reliability_scaled",
        "risk_coverage",
        "confusion",
        "confusion_teacher",
        "disagreements",
        "confidence_histogram",
        "cost",
    }
)
"""Tables that judge a model, whatever its method: they have their own place on the page."""

MOST_ROWS = 50
MOST_BYTES = 4_000_000
PAIRED = ("student", "teacher")
"""A table's lists named so, alone or before `_`, are bars beside each other."""


@dataclass(frozen=True)
class RowView:
    """One row of a table of examples: `cells` in the order of the view's columns."""

    cells: tuple[str, ...]
    picture: list[list[int]] | None
    label: str


@dataclass(frozen=True)
class View:
    """One table as it is shown: a figure, or columns and rows. `note` says what it covers: `train, n = 1,078`."""

    id: str
    title: str
    note: str
    figure: Figure | None = None
    columns: tuple[str, ...] = ()
    rows: tuple[RowView, ...] = ()

    @property
    def own_id(self) -> str:
        """Of its figure on the page, where a judgement's may have the same name."""
        return f"own-{self.id}"


def tables_of(run: Run) -> dict[str, Any]:
    """What the method's diagnostics left at the newest validation, by name.

    An artifact of the same name stands in for a list of examples: it is the last word, and has the pictures.
    """
    newest = Evaluation.objects.filter(run=run, subject="student", split="validation").order_by("-step", "-final").first()
    tables = {name: table for name, table in newest.tables.items() if name not in JUDGEMENTS} if newest else {}
    lists = [name for name, table in tables.items() if isinstance(table, Mapping) and "rows" in table]
    if not lists:
        return tables
    artifacts = Artifact.objects.filter(run=run, kind="table", name__in=lists).order_by("attempt")
    return tables | {one.name: table for one in artifacts if (table := _content(one)) is not None}


def views_of(tables: Mapping[str, Any], *, number: int) -> list[View]:
    """A view of each table whose form is known: `edges` and `counts`, `rows`, or lists of student and teacher."""
    views = (_view(name, table, color_of(number)) for name, table in sorted(tables.items()) if isinstance(table, Mapping))
    return [view for view in views if view is not None]


def _view(name: str, table: Mapping[str, Any], color: str) -> View | None:
    title, note = name.replace("_", " ").capitalize(), _note(table)
    match table:
        case {"edges": [_, _, *_] as edges, "counts": [_, *_] as counts} if len(edges) == len(counts) + 1:
            return View(name, title, note, histogram(edges=edges, counts=counts, title=title, x=name.replace("_", " "), color=color))
        case {"rows": [{**first}, *_] as rows}:
            columns = [str(key) for key, value in first.items() if key != "picture" and not isinstance(value, list | dict)]
            return View(name, title, note, columns=tuple(columns), rows=tuple(_row(row, columns) for row in rows[:MOST_ROWS]))
    panels = _panels(table)
    return View(name, title, note, paired_bars(panels, title=f"{title} ({note})", x="class", color=color)) if panels else None


def _panels(table: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """`student`, `teacher`, `student_standardized` → {"raw": {student, teacher}, "standardized": {student}}."""
    panels: dict[str, dict[str, list[float]]] = {}
    for key, value in table.items():
        model, _, kind = key.partition("_")
        if model in PAIRED and isinstance(value, list) and value:
            panels.setdefault(kind.replace("_", " ") or "raw", {})[model] = value
    return panels


def _row(row: Mapping[str, Any], columns: Sequence[str]) -> RowView:
    cells = tuple(_words(row.get(column)) for column in columns)
    return RowView(cells, row.get("picture"), ", ".join(f"{column} {cell}" for column, cell in zip(columns, cells, strict=True)))


def _words(value: Any) -> str:
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _note(table: Mapping[str, Any]) -> str:
    facts = [str(table["split"])] if "split" in table else []
    if "index" in table:
        facts.append(f"example {table['index']}")
    elif "n" in table:
        facts.append(f"n = {table['n']:,}")
    return ", ".join(facts)


def _content(artifact: Artifact) -> dict[str, Any] | None:
    """The table in the store; None where it is missing, too large for a page, or no such table."""
    if artifact.bytes > MOST_BYTES:
        return None
    try:
        table = json.loads(store.resolve(artifact.path).read_text(encoding="utf-8"))
    except (Http404, OSError, ValueError):
        return None
    return table if isinstance(table, dict) and isinstance(table.get("rows"), list) else None
