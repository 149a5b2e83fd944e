"""What stands in the table of a comparison: each metric of each column, how far it is from the baseline's, and what the seeds say about that."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.metrics.cards import METRICS
from engine.metrics.gap import NO_TEACHER, gap_closed
from engine.spec.cards import MetricCard
from engine.spec.reference import reference_text
from engine.statistics import t_interval
from webapp.comparing.columns import ComparedRun, SeedGroup
from webapp.comparing.differences import flat
from webapp.comparing.verdicts import Difference, Interval, Verdict, difference_of, verdicts
from webapp.runs.page.scores import INTERVAL_ENDS, interval_of

ValueOf = Callable[[ComparedRun], float | None]
Reference = Mapping[tuple[Any, ...], Sequence[float]]
"""Accuracies of the compared supervised runs, by what a student must share with them to be measured against them."""

OTHER_ROWS = "measured on other rows than the baseline"
NO_GAP = "not defined: the teacher is not better than the baseline"
OTHER_DEVICE = "timed on other hardware than the baseline, or on one that is not known"


@dataclass(frozen=True)
class Cell:
    """A metric of a column: mean and sample standard deviation (n − 1; None below two) over the `n` runs that have a value.

    `interval` is of 95 %: of the mean over three seeds or more, else a single run's own over rows or repeated timings, where it has one. `delta` is the difference
    to the baseline's mean, and `verdict` what the seeds say of it: None without a baseline, for the baseline itself, for what has no better, for
    what follows from the architecture alone, and where the two can't be compared. `note` says why there is no verdict there, or no value.
    """

    mean: float | None
    std: float | None
    n: int
    interval: Interval | None = None
    delta: float | None = None
    verdict: Verdict | None = None
    note: str = ""


@dataclass(frozen=True)
class MetricRow:
    card: MetricCard
    cells: tuple[Cell, ...]


def metric_rows(columns: Sequence[SeedGroup]) -> tuple[MetricRow, ...]:
    """Rows in the order of METRICS, for every metric that any run has, without the ends of intervals, which stand in their metric's cells.

    Gap closed is computed here, and is not of one run alone.
    """
    reference = _reference_accuracy(columns)

    def value_of(name: str) -> ValueOf:
        if name == "gap_closed":
            return lambda entry: _gap_closed(entry, reference)
        return lambda entry: entry.student.metrics.get(name) if entry.student else None

    rows = []
    for name, card in METRICS.items():
        if name not in INTERVAL_ENDS:
            values = [_by_seed(column, value_of(name)) for column in columns]
            notes = [
                _gap_note(column, reference) if name == "gap_closed" and not value else ""
                for column, value in zip(columns, values, strict=True)
            ]
            if any(values) or any(notes):
                cells = _cells(card, values, columns)
                rows.append(
                    MetricRow(card, tuple(replace(cell, note=note) if note else cell for cell, note in zip(cells, notes, strict=True)))
                )
    return tuple(rows)


def _by_seed(column: SeedGroup, value_of: ValueOf) -> dict[int, list[float]]:
    """The values of a column's runs that have one, by their seeds."""
    found: dict[int, list[float]] = {}
    for entry in column.entries:
        if (value := value_of(entry)) is not None:
            found.setdefault(entry.run.seed, []).append(value)
    return found


def _cells(card: MetricCard, values: Sequence[Mapping[int, Sequence[float]]], columns: Sequence[SeedGroup]) -> tuple[Cell, ...]:
    pinned = next((index for index, column in enumerate(columns) if column.is_baseline), None)
    reasons = ["" if pinned in (None, index) else _incomparable(card, column, columns[pinned or 0]) for index, column in enumerate(columns)]
    differences = [
        None if pinned in (None, index) or reasons[index] or card.exact else _difference(each, values[pinned or 0])
        for index, each in enumerate(values)
    ]
    judged = verdicts(differences, card.better)
    means = [statistics.fmean(_every(each)) if each else None for each in values]
    base = None if pinned is None else means[pinned]
    cells = []
    for index, (each, mean, column) in enumerate(zip(values, means, columns, strict=True)):
        every = _every(each)
        cells.append(
            Cell(
                mean,
                statistics.stdev(every) if len(every) > 1 else None,
                len(every),
                t_interval(every) or _own_interval(column, card.id),
                None if mean is None or base is None or index == pinned else mean - base,
                judged[index],
                reasons[index],
            )
        )
    return tuple(cells)


def _every(by_seed: Mapping[int, Sequence[float]]) -> list[float]:
    return [value for values in by_seed.values() for value in values]


def _difference(candidate: Mapping[int, Sequence[float]], baseline: Mapping[int, Sequence[float]]) -> Difference | None:
    """Over seeds: a seed that was run more than once counts as one, with the mean of its values."""
    ours, theirs = ({seed: statistics.fmean(values) for seed, values in each.items()} for each in (candidate, baseline))
    return difference_of(ours, theirs)


def _incomparable(card: MetricCard, column: SeedGroup, baseline: SeedGroup) -> str:
    """Why a difference of this metric would mean nothing; empty where it would."""
    if card.unit == "ms":
        devices = column.devices | baseline.devices
        return OTHER_DEVICE if len(devices) > 1 or "" in devices else ""
    if card.exact:
        return ""
    return OTHER_ROWS if len(column.judged_on | baseline.judged_on) > 1 else ""


def _own_interval(column: SeedGroup, name: str) -> Interval | None:
    """Of a single run: seeds of a group say themselves how far a value scatters."""
    student = column.entries[0].student
    return interval_of(student.metrics, student.tables, name) if column.n == 1 and student is not None else None


def _reference_accuracy(columns: Sequence[SeedGroup]) -> Reference:
    found: dict[tuple[Any, ...], list[float]] = {}
    for entry in (entry for column in columns for entry in column.entries):
        accuracy = entry.student.metrics.get("accuracy") if entry.student else None
        if entry.run.method_id == NO_TEACHER and accuracy is not None:
            found.setdefault(_surroundings(entry), []).append(accuracy)
    return found


def _gap_closed(entry: ComparedRun, reference: Reference) -> float | None:
    """Against the mean of the compared supervised runs with the same task, student, budget and split; None where the teacher is not better than
    these, as far as their seeds say."""
    baselines, student, teacher = _ends_of_gap(entry, reference)
    if not baselines or student is None or teacher is None:
        return None
    lead = t_interval([teacher - baseline for baseline in baselines])
    return None if lead and lead[0] <= 0 else gap_closed(student=student, teacher=teacher, baseline=statistics.fmean(baselines))


def _ends_of_gap(entry: ComparedRun, reference: Reference) -> tuple[Sequence[float], float | None, float | None]:
    """Accuracies of the baselines, the student and the teacher on one split."""
    student = entry.student.metrics.get("accuracy") if entry.student else None
    same_split = entry.student is not None and entry.teacher is not None and entry.student.split == entry.teacher.split
    teacher = entry.teacher.metrics.get("accuracy") if entry.teacher and same_split else None
    return reference.get(_surroundings(entry), []), student, teacher


def _gap_note(column: SeedGroup, reference: Reference) -> str:
    """Why a column's gap is undefined, though all three accuracies are known."""
    ends = [_ends_of_gap(entry, reference) for entry in column.entries]
    return NO_GAP if any(baselines and student is not None and teacher is not None for baselines, student, teacher in ends) else ""


def _surroundings(entry: ComparedRun) -> tuple[Any, ...]:
    spec = entry.run.spec
    split = entry.student.split if entry.student else ""
    return (spec["task"], str(sorted(flat(spec["task_options"]).items())), reference_text(spec["student"]), str(spec["budget"]), split)
