"""The columns of a comparison: runs that differ in nothing but their seeds, with the evaluation that each is judged by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models.fields.json import KeyTransform

from engine.spec.reference import reference_text
from webapp.comparing.differences import changes_between
from webapp.runs.history.headline import headline_of
from webapp.runs.models import Evaluation, Run

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

    @property
    def device(self) -> str:
        """What the student's times were measured on; empty where nothing was timed."""
        return str((self.student.tables.get("cost") or {}).get("device") or "") if self.student else ""


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

    @property
    def judged_on(self) -> frozenset[tuple[Any, ...]]:
        """The rows that its runs are judged on: task, how its data are cut, and split."""
        return frozenset(
            (entry.run.task_id, str(sorted(entry.run.spec.get("task_options", {}).items())), entry.student.split)
            for entry in self.entries
            if entry.student
        )

    @property
    def devices(self) -> frozenset[str]:
        return frozenset(entry.device for entry in self.entries if entry.student)


def columns_of(run_ids: Sequence[UUID], baseline_id: UUID | None, *, grouped: bool, pin: bool) -> tuple[SeedGroup, ...]:
    """In the order of the runs. Three statements. Without `baseline_id` and with `pin`, the baseline is the one that the runs know."""
    entries = _entries(run_ids)
    groups = _groups(entries, grouped=grouped)
    pinned = baseline_id or (_known_baseline(groups) if pin else None)
    return tuple(_column(group, label, pinned) for group, label in zip(groups, _labels(groups), strict=True))


def shared_spec(column: SeedGroup) -> Mapping[str, Any]:
    """The spec of a column's runs: without the seed where there are several."""
    return _shared(column.entries)


def headlines_of(columns: Sequence[SeedGroup]) -> list[str]:
    """The metrics by which the columns' kinds of students are judged first."""
    return list(dict.fromkeys(name for column in columns for name in headline_of(column.entries[0].run.spec)))


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


def _known_baseline(groups: Sequence[Sequence[ComparedRun]]) -> UUID | None:
    """A run of the one group that is the baseline of others: launched as such, else of the method that another's card names, with the same task
    and student. Of several, the one that has no baseline among them. None where no group is, or it stays open which."""
    launched = {entry.run.baseline_id for group in groups for entry in group}
    wanted = {_wanted(group) for group in groups}
    for found in (
        [group for group in groups if any(entry.run.pk in launched for entry in group)],
        [group for group in groups if (group[0].run.method_id, *_made(group)) in wanted],
    ):
        there = {(group[0].run.method_id, *_made(group)) for group in found}
        last = [group for group in found if _wanted(group) not in there]
        if len(last) == 1 and len(groups) > 1:
            return last[0][0].run.pk
    return None


def _wanted(group: Sequence[ComparedRun]) -> tuple[str | None, str, str]:
    """The method that the group's card names as its baseline, of which task, and with which student."""
    return (group[0].run.method.card.get("baseline"), *_made(group))


def _made(group: Sequence[ComparedRun]) -> tuple[str, str]:
    """Of what task, and which student."""
    run = group[0].run
    return run.task_id, reference_text(run.spec["student"])


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
            changes = changes_between([_shared(groups[twin]) for twin in twins])
            here = twins.index(index)
            marks = [f"{path.rpartition('.')[2]} {values[here]}" for path, values in changes.items() if values[here] is not None][:2]
            label = f"{label} ({', '.join(marks) if marks else index + 1})"
        labels.append(label)
    return labels


def _column(group: Sequence[ComparedRun], label: str, baseline_id: UUID | None) -> SeedGroup:
    tables = tuple(entry.student.tables["reliability"] for entry in group if entry.student and "reliability" in entry.student.tables)
    return SeedGroup(label, tuple(group), any(entry.run.pk == baseline_id for entry in group), tables)


def _shared(group: Sequence[ComparedRun]) -> Mapping[str, Any]:
    spec: dict[str, Any] = group[0].run.spec
    return spec if len(group) == 1 else {key: value for key, value in spec.items() if key != "seed"}
