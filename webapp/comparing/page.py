"""A comparison as its page shows it: columns with their addresses, which rows come first, and the pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from engine.metrics.cards import METRICS
from engine.spec.reference import reference_text, run_named_by
from webapp.comparing.cells import MetricRow
from webapp.comparing.columns import SeedGroup, headlines_of
from webapp.comparing.comparison import Comparison, ConfigRow
from webapp.figures.curves import Line, drawable, opened, panels_of, training_curves
from webapp.figures.figure import Figure
from webapp.figures.palette import NEUTRAL, slot_of, styles_of
from webapp.figures.pareto import Candidate, pareto
from webapp.figures.reliability import Bin, Reliability, reliability_diagram
from webapp.runs.history import curves
from webapp.runs.models import Run
from webapp.runs.page.scores import bins_of
from webapp.runs.templatetags.shown import words

COMMON = ("scaled_nll", "scaled_ece", "aurc", "parameters", "flops", "latency_ms")
"""Rows that are always shown, after the headlines of the students' kinds; the others unfold."""

CURVE_POINTS = 600


@dataclass(frozen=True)
class ColumnHead:
    """The head of a column: `pin` is the run that becomes the baseline by a click, `rest` the runs that stay when the column is removed."""

    label: str
    numbers: tuple[int, ...]
    slot: int
    dash: str
    runs: tuple[tuple[UUID, str, int, str], ...]
    pin: UUID
    is_baseline: bool
    rest: str
    n: int

    @property
    def numbered(self) -> str:
        """`#12`, `#2–#4` or `#2, #5`."""
        first, last = min(self.numbers), max(self.numbers)
        if self.n > 2 and last - first == self.n - 1:
            return f"#{first}–#{last}"
        return ", ".join(f"#{number}" for number in self.numbers)


@dataclass(frozen=True)
class SettingCell:
    """What one column has in a field that differs. `run` is the page to which the text leads."""

    text: str
    title: str = ""
    run: UUID | None = None


@dataclass(frozen=True)
class DifferingSetting:
    path: str
    cells: tuple[SettingCell, ...]


def heads_of(comparison: Comparison) -> list[ColumnHead]:
    everything = [run_id for column in comparison.columns for run_id in column.run_ids]
    return [
        ColumnHead(
            label=column.label,
            numbers=tuple(column.numbers),
            slot=slot_of(column.numbers[0]),
            dash=dash,
            runs=tuple((one.run.pk, one.run.name, one.run.seed, one.run.state) for one in column.entries),
            pin=column.run_ids[0],
            is_baseline=column.is_baseline,
            rest=",".join(str(run_id) for run_id in everything if run_id not in column.run_ids),
            n=column.n,
        )
        for column, (_, dash) in zip(comparison.columns, _styles(comparison), strict=True)
    ]


def split_rows(comparison: Comparison) -> tuple[list[MetricRow], list[MetricRow]]:
    """(main, more): those that decide first, the headlines of the students' kinds."""
    first = [*headlines_of(comparison.columns), *COMMON]
    by_id = {row.card.id: row for row in comparison.rows}
    return [by_id[name] for name in first if name in by_id], [row for row in comparison.rows if row.card.id not in first]


def shown_series(comparison: Comparison) -> tuple[str, ...]:
    """The curves that are drawn at once: the loss, and what the students' kinds are judged by first."""
    return opened(headlines_of(comparison.columns))


def split_config(comparison: Comparison) -> tuple[list[DifferingSetting], list[DifferingSetting]]:
    """(main, more): `more` only says that some methods have no such setting, those that have it agree. Method and models come first."""
    first = ("method", "student", "task", "teachers", "budget")
    ordered = sorted(comparison.config, key=lambda row: next((i for i, name in enumerate(first) if row.path.startswith(name)), len(first)))
    differing = [row for row in ordered if any(value not in (None, []) for value in row.values)]
    named = _runs_named(differing)
    main = [row for row in differing if row.path.startswith(first) or len({str(value) for value in row.values if value is not None}) > 1]
    more = [row for row in differing if row not in main]
    return [_setting_row(row, named) for row in main], [_setting_row(row, named) for row in more]


def _runs_named(rows: Sequence[ConfigRow]) -> dict[str, Run]:
    """The runs that are values of these rows (a teacher, the student that a run went on from) by `run:<id>`. One statement."""
    texts = {value for row in rows for value in row.values if isinstance(value, str)}
    ids = {text: run_id for text in texts if (run_id := run_named_by(text)) is not None}
    found = Run.objects.only("pk", "name", "number").in_bulk(list(ids.values()))
    return {text: found[UUID(run_id)] for text, run_id in ids.items() if UUID(run_id) in found}


def _setting_row(row: ConfigRow, named: Mapping[str, Run]) -> DifferingSetting:
    cells = []
    for value in row.values:
        run = named.get(value) if isinstance(value, str) else None
        cells.append(SettingCell(words(value)) if run is None else SettingCell(f"{run.name} #{run.number}", title=str(value), run=run.pk))
    return DifferingSetting(row.path, tuple(cells))


def figures_of(comparison: Comparison) -> dict[str, Figure]:
    """Overlaid reliability diagrams, and accuracy against what it costs, where there is enough to draw."""
    styles = _styles(comparison)
    figures: dict[str, Figure] = {}
    models = [
        Reliability(column.label, merged_bins(column.reliability), color, dash, seeds=len(column.reliability))
        for column, (color, dash) in zip(comparison.columns, styles, strict=True)
        if column.reliability
    ]
    models += _teachers(comparison)
    if models:
        figures["reliability"] = reliability_diagram(
            models, title="Reliability" + (", seeds pooled" if any(c.n > 1 for c in comparison.columns) else "")
        )
    for cost in ("parameters", "latency_ms"):
        candidates = _candidates(comparison, cost, styles)
        if len({one.cost for one in candidates}) > 1:
            card = METRICS[cost]
            figures[f"pareto_{cost}"] = pareto(candidates, cost=card.title, cost_unit=card.unit, quality=METRICS["accuracy"].title)
    return figures


def _teachers(comparison: Comparison) -> list[Reliability]:
    """Each teacher of the compared students once, where it was judged on their rows."""
    found: dict[str, Reliability] = {}
    for entry in (entry for column in comparison.columns for entry in column.entries):
        table = entry.teacher.tables.get("reliability") if entry.teacher else None
        names = ", ".join(reference_text(teacher) for teacher in entry.run.spec["teachers"])
        if table and names not in found:
            found[names] = Reliability("teacher", bins_of(table), NEUTRAL, "dashdot", muted=True)
    several = len(found) > 1
    return [replace(model, name=f"teacher {number}") if several else model for number, model in enumerate(found.values(), start=1)]


def curve_figures(comparison: Comparison, *, series: Sequence[str] = ()) -> list[dict[str, Any]]:
    """A panel for each series with one line a run. Runs of one column share its color. Without series, those of `shown_series`."""
    series = series or shown_series(comparison)
    run_ids = [run_id for column in comparison.columns for run_id in column.run_ids]
    found = curves.overlay(run_ids, series=list(series), points=CURVE_POINTS)
    panels = [
        panel
        for panel in panels_of(series, METRICS, shown=series)
        if any(name in found[run_id] for run_id in run_ids for name in panel.series)
    ]
    figures = []
    for panel in panels:
        for name in panel.series:
            lines = [
                line
                for column, style in zip(comparison.columns, _styles(comparison), strict=True)
                for line in _lines(column, style, found, name)
            ]
            title = "Loss" if name == "loss" else panel.title if len(panel.series) == 1 else name
            y = panel.y if len(panel.series) == 1 or panel.id == "loss" else name
            figures.append({"id": name, "better": panel.better, "figure": training_curves(lines, title=title, y=y)})
    return figures


def merged_bins(tables: Sequence[Mapping[str, Any]]) -> list[Bin]:
    """The bins of several runs as if their examples were one set. All tables must have the same edges; others than the first's are left out."""
    every = [bins_of(table) for table in tables]
    edges = [(b.low, b.high) for b in every[0]]
    alike = [bins for bins in every if [(b.low, b.high) for b in bins] == edges]
    return [_merged(list(column)) for column in zip(*alike, strict=True)]


def _merged(bins: Sequence[Bin]) -> Bin:
    count = sum(b.count for b in bins)
    confidence = sum(b.count * b.confidence for b in bins if b.confidence is not None)
    accuracy = sum(b.count * b.accuracy for b in bins if b.accuracy is not None)
    return Bin(bins[0].low, bins[0].high, count, confidence / count if count else None, accuracy / count if count else None)


def _styles(comparison: Comparison) -> list[tuple[str, str]]:
    return styles_of([column.numbers[0] for column in comparison.columns])


def _candidates(comparison: Comparison, cost: str, styles: Sequence[tuple[str, str]]) -> list[Candidate]:
    rows = {row.card.id: row.cells for row in comparison.rows}
    if cost not in rows or "accuracy" not in rows:
        return []
    return [
        Candidate(column.label, price.mean, quality.mean, color, quality.std, column.is_baseline)
        for column, price, quality, (color, _) in zip(comparison.columns, rows[cost], rows["accuracy"], styles, strict=True)
        if price.mean is not None and quality.mean is not None
    ]


def _lines(column: SeedGroup, style: tuple[str, str], found: Mapping[UUID, Mapping[str, curves.Curve]], name: str) -> list[Line]:
    color, dash = style
    lines = []
    for entry in column.entries:
        curve = found[entry.run.pk].get(name)
        if curve is None:
            continue
        label = column.label if column.n == 1 else f"{column.label} · seed {entry.run.seed}"
        lines.append(Line(label, curve.steps.tolist(), drawable(curve.values), color, dash, series=name, run=str(entry.run.pk)))
    return lines
