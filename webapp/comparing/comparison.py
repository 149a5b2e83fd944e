"""Two to twenty runs beside each other: what is better, by how much, whether the seeds say so, and what else differs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import Http404

from engine.errors import SpecError
from webapp.accounts.models import Project
from webapp.accounts.permissions import Person
from webapp.comparing import warnings
from webapp.comparing.cells import MetricRow, metric_rows
from webapp.comparing.columns import SeedGroup, columns_of, shared_spec
from webapp.comparing.differences import changes_between
from webapp.runs.access import runs_seen_by

LEAST_COMPARED, MOST_COMPARED = 2, 20

UNPINNED = "none"
"""In place of a baseline's id: no column is one."""


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


def comparison(
    user: Person, run_ids: Sequence[UUID], baseline_id: UUID | None = None, *, grouped: bool = True, pin: bool = True
) -> Comparison:
    """The runs in the order given, those that differ only in their seeds as one column when `grouped`. Four statements.

    The baseline's column is the one that holds the run `baseline_id`; without it, the one that the runs know as their baseline, unless `pin` is
    False. Raises SpecError for fewer than 2 or more than 20 runs, for runs of several projects, and for a baseline that is not among them;
    Http404 where a run is not the person's to see.
    """
    run_ids = comparable(user, run_ids)
    if baseline_id is not None and baseline_id not in run_ids:
        raise SpecError.at("baseline", f"must be one of the compared runs; got {baseline_id}.")
    columns = columns_of(run_ids, baseline_id, grouped=grouped, pin=pin)
    return Comparison(
        project=columns[0].entries[0].run.project,
        columns=columns,
        rows=metric_rows(columns),
        config=tuple(ConfigRow(path, values) for path, values in changes_between([shared_spec(column) for column in columns]).items()),
        warnings=tuple(warnings.of([entry for column in columns for entry in column.entries])),
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


def pinned_by(query: Mapping[str, str]) -> tuple[UUID | None, bool]:
    """The baseline that a query names, and whether the runs' own is pinned where it names none: `none` asks for no baseline at all."""
    text = query.get("baseline", "").strip()
    try:
        return (UUID(text) if text not in ("", UNPINNED) else None), text != UNPINNED
    except ValueError:
        raise SpecError.at("baseline", f"must be the id of a run, or {UNPINNED}; got {text!r:.80}.") from None
