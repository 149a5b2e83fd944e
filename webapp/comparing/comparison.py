"""Two to twenty runs beside each other: what is better, by how much, and what else differs."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models.fields.json import KeyTransform
from django.http import Http404

from engine.errors import SpecError
from engine.metrics.cards import METRICS
from engine.metrics.gap import NO_TEACHER, gap_closed
from engine.spec.cards import MetricCard
from engine.spec.reference import reference_text
from webapp.accounts.models import Project
from webapp.accounts.permissions import Person
from webapp.comparing import warnings
from webapp.comparing.differences import changes_between, flat
from webapp.runs.access import runs_seen_by
from webapp.runs.models import Evaluation, Run
from webapp.runs.page.scores import INTERVAL_ENDS, Interval, interval_of, overlapping

LEAST_COMPARED, MOST_COMPARED = 2, 20
TABLES = ("reliability", "reliability_scaled", "cost")
"""Those of an evaluation's tables that are read: the others are large."""


@dataclass(frozen=True)
class JudgingEvaluation:
    """The evaluation that a run is judged by: the final test, else the newest validation. `tables` are those of reliability and cost."""

    step: int
    split: str
    final: bool
    metrics: Mapping[str, float | None]
    tables: Mapping[str, Any]


@dataclass(frozen=True)
class ComparedRun:
    """One run of the comparison with what is known of it."""

    run: Run
    student: JudgingEvaluation | None
    teacher: JudgingEvaluation | None


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ in nothing but their seeds, or a single run. `reliability` are the tables of its runs that have one."""

    label: str
    entries: tuple[ComparedRun, ...]
    is_baseline: bool
    reliability: tuple[Mapping[str, Any], ...]

    @property
    def run_ids(self) -> list[UUID]:
        return [entry.run.pk for entry in self.entries]

    @property
    def numbers(self) -> list[int]:
        return [entry.run.number for entry in self.entries]

    @property
    def seeds(self) -> list[int]:
        return [entry.run.seed for entry in self.entries]

    @property
    def n(self) -> int:
        return len(self.entries)


@dataclass(frozen=True)
class Cell:
    """A metric of a column: mean and sample standard deviation (n − 1; None below two) over the `n` runs that have a value.

    `delta` is the difference to the baseline's mean, `is_better` its direction: None without a baseline, a direction or a difference, and
    where the bootstrap intervals overlap (`overlaps`). `interval` is that of a single run, 95 %.
    """

    mean: float | None
    std: float | None
    n: int
    delta: float | None
    is_better: bool | None
    is_best: bool
    interval: Interval | None = None
    overlaps: bool = False


@dataclass(frozen=True)
class MetricRow:
    card: MetricCard
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class ConfigRow:
    """A field of the spec in which the columns differ, with each column's value; None where it has no such field."""

    path: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Comparison:
    """`config` holds only what differs; `warnings` say in sentences why numbers may not be comparable."""

    project: Project
    columns: tuple[SeedGroup, ...]
    rows: tuple[MetricRow, ...]
    config: tuple[ConfigRow, ...]
    warnings: tuple[str, ...]

    @property
    def baseline(self) -> int | None:
        """Position of the pinned column."""
        return next((index for index, column in enumerate(self.columns) if column.is_baseline), None)


def comparison(user: Person, run_ids: Sequence[UUID], baseline_id: UUID | None = None, *, grouped: bool = True) -> Comparison:
    """The runs in the order given, those that differ only in their seeds as one column when `grouped`. Four statements.

    The baseline's column is the one that holds the run `baseline_id`. Raises SpecError for fewer than 2 or more than 20 runs, for runs of
    several projects, and for a baseline that is not among them; Http404 where a run is not the person's to see.
    """
    run_ids = comparable(user, run_ids)
    if baseline_id is not None and baseline_id not in run_ids:
        raise SpecError.at("baseline", f"must be one of the compared runs; got {baseline_id}.")
    entries = _entries(run_ids)
    groups = _groups(entries, grouped=grouped)
    labels = _labels(groups)
    columns = tuple(_column(group, label, baseline_id) for group, label in zip(groups, labels, strict=True))
    return Comparison(
        project=entries[0].run.project,
        columns=columns,
        rows=_metric_rows(columns),
        config=tuple(ConfigRow(path, values) for path, values in changes_between([_spec(group) for group in groups]).items()),
        warnings=tuple(warnings.of(entries)),
    )


def comparable(user: Person, run_ids: Sequence[UUID]) -> list[UUID]:
    """The ids, each once and in their order, if they are 2 to 20 runs that the person may see. Raises SpecError, Http404."""
    run_ids = list(dict.fromkeys(run_ids))
    if not LEAST_COMPARED <= len(run_ids) <= MOST_COMPARED:
        raise SpecError.at("runs", f"must name {LEAST_COMPARED} to {MOST_COMPARED} different runs; got {len(run_ids)}.")
    seen = dict(runs_seen_by(user).filter(pk__in=run_ids).values_list("pk", "project"))
    if missing := [run_id for run_id in run_ids if run_id not in seen]:
        raise Http404(f"There is no run {missing[0]}, or it is not in a project of yours.")
    if len(set(seen.values())) > 1:
        raise SpecError.at("runs", "must be of one project.")
    return run_ids


def _entries(run_ids: Sequence[UUID]) -> list[ComparedRun]:
    runs = Run.objects.select_related("project", "method").in_bulk(run_ids)
    students, teachers = _judged(run_ids, "student"), _judged(run_ids, "teacher")
    return [ComparedRun(runs[run_id], students.get(run_id), teachers.get(run_id)) for run_id in run_ids]


def _judged(run_ids: Sequence[UUID], subject: str) -> dict[UUID, JudgingEvaluation]:
    """Each run's judging evaluation. Of its tables only those of reliability and cost are read: the others are large."""
    judging = Evaluation.objects.filter(run__in=run_ids, subject=subject).judging_each_run()
    rows = judging.values_list("run", "step", "split", "final", "metrics", *(KeyTransform(name, "tables") for name in TABLES))
    return {
        run_id: JudgingEvaluation(
            step, split, final, metrics, {name: table for name, table in zip(TABLES, tables, strict=True) if table is not None}
        )
        for run_id, step, split, final, metrics, *tables in rows
    }


def _groups(entries: Sequence[ComparedRun], *, grouped: bool) -> list[list[ComparedRun]]:
    groups: dict[object, list[ComparedRun]] = {}
    for entry in entries:
        groups.setdefault(entry.run.config_hash if grouped else entry.run.pk, []).append(entry)
    return list(groups.values())


def _labels(groups: Sequence[Sequence[ComparedRun]]) -> list[str]:
    """A name for each column that no other has: the run's, or what the group's runs share, and where that is not enough, what sets it apart."""
    plain = [
        group[0].run.name if len(group) == 1 else f"{group[0].run.method.title} {reference_text(group[0].run.spec['student'])}"
        for group in groups
    ]
    labels = []
    for index, label in enumerate(plain):
        twins = [other for other, name in enumerate(plain) if name == label]
        if len(twins) > 1:
            changes = changes_between([_spec(groups[twin]) for twin in twins])
            here = twins.index(index)
            marks = [f"{path.rpartition('.')[2]} {values[here]}" for path, values in changes.items() if values[here] is not None][:2]
            label = f"{label} ({', '.join(marks) if marks else index + 1})"
        labels.append(label)
    return labels


def _column(group: Sequence[ComparedRun], label: str, baseline_id: UUID | None) -> SeedGroup:
    tables = tuple(entry.student.tables["reliability"] for entry in group if entry.student and "reliability" in entry.student.tables)
    return SeedGroup(label, tuple(group), any(entry.run.pk == baseline_id for entry in group), tables)


def _metric_rows(columns: Sequence[SeedGroup]) -> tuple[MetricRow, ...]:
    """Rows in the order of METRICS, for every metric that any run has, without the ends of intervals, which stand in their metric's cells.

    Gap closed is computed here, and is not of one run alone.
    """
    reference = _reference_accuracy(columns)

    def value_of(name: str) -> Callable[[ComparedRun], float | None]:
        if name == "gap_closed":
            return lambda entry: _gap_closed(entry, reference)
        return lambda entry: entry.student.metrics.get(name) if entry.student else None

    rows = []
    for name, card in METRICS.items():
        if name in INTERVAL_ENDS:
            continue
        values = [[value for entry in column.entries if (value := value_of(name)(entry)) is not None] for column in columns]
        if any(values):
            rows.append(MetricRow(card, _cells(card, values, columns)))
    return tuple(rows)


def _cells(card: MetricCard, values: Sequence[Sequence[float]], columns: Sequence[SeedGroup]) -> tuple[Cell, ...]:
    means = [statistics.fmean(each) if each else None for each in values]
    pinned = next((mean for mean, column in zip(means, columns, strict=True) if column.is_baseline), None)
    known = [mean for mean in means if mean is not None]
    intervals = [_interval(column, card.id) for column in columns]
    pinned_interval = next((interval for interval, column in zip(intervals, columns, strict=True) if column.is_baseline), None)
    best = None if card.better is None or len(known) < 2 else (max if card.better == "higher" else min)(known)
    cells = []
    for index, (each, mean, column) in enumerate(zip(values, means, columns, strict=True)):
        delta = None if mean is None or pinned is None or column.is_baseline else mean - pinned
        overlaps = delta is not None and overlapping(intervals[index], pinned_interval)
        is_better = None if not delta or card.better is None or overlaps else (delta > 0) == (card.better == "higher")
        std = statistics.stdev(each) if len(each) > 1 else None
        rivals = (*intervals[:index], *intervals[index + 1 :])
        is_best = best is not None and mean == best and not any(overlapping(intervals[index], rival) for rival in rivals)
        cells.append(Cell(mean, std, len(each), delta, is_better, is_best, intervals[index], overlaps))
    return tuple(cells)


def _interval(column: SeedGroup, name: str) -> Interval | None:
    """Of a single run: seeds of a group say themselves how far a value scatters."""
    student = column.entries[0].student
    return interval_of(student.metrics, name) if column.n == 1 and student is not None else None


def _reference_accuracy(columns: Sequence[SeedGroup]) -> dict[tuple[Any, ...], list[float]]:
    """Accuracies of the compared supervised runs, by what a student must share with them to be measured against them."""
    found: dict[tuple[Any, ...], list[float]] = {}
    for entry in (entry for column in columns for entry in column.entries):
        accuracy = entry.student.metrics.get("accuracy") if entry.student else None
        if entry.run.method_id == NO_TEACHER and accuracy is not None:
            found.setdefault(_surroundings(entry), []).append(accuracy)
    return found


def _gap_closed(entry: ComparedRun, reference: Mapping[tuple[Any, ...], Sequence[float]]) -> float | None:
    """Against the mean of the compared supervised runs with the same task, student, budget and split."""
    baselines = reference.get(_surroundings(entry), [])
    student = entry.student.metrics.get("accuracy") if entry.student else None
    teacher = entry.teacher.metrics.get("accuracy") if entry.teacher else None
    same_split = entry.student is not None and entry.teacher is not None and entry.student.split == entry.teacher.split
    if not baselines or student is None or teacher is None or not same_split:
        return None
    return gap_closed(student=student, teacher=teacher, baseline=statistics.fmean(baselines))


def _surroundings(entry: ComparedRun) -> tuple[Any, ...]:
    spec = entry.run.spec
    split = entry.student.split if entry.student else ""
    return (spec["task"], str(sorted(flat(spec["task_options"]).items())), reference_text(spec["student"]), str(spec["budget"]), split)


def _spec(group: Sequence[ComparedRun]) -> Mapping[str, Any]:
    """The spec that a column's runs share: without the seed where there are several."""
    spec: dict[str, Any] = group[0].run.spec
    return spec if len(group) == 1 else {key: value for key, value in spec.items() if key != "seed"}
