"""The table of runs: narrowed down, sorted, in pages. Pages and API ask here."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.paginator import Paginator
from django.db.models import CharField, F, FilteredRelation, Func, OrderBy, OuterRef, Q, QuerySet, Subquery
from django.http import QueryDict

from engine.errors import Problem, SpecError
from engine.spec.reference import reference_text
from webapp.accounts.models import Project
from webapp.runs.models import Attempt, LatestMetric, Run
from webapp.runs.progress import Status, Supply, status_of, supply_for
from webapp.runs.table.filters import RunFilter

PAGE_SIZE = 50
MAX_PAGE_SIZE = 200
MAX_PAGE = 1_000_000

COLUMNS = {
    "created": F("created_at"),
    "finished": F("finished_at"),
    "name": F("name"),
    "state": F("state"),
    "method": F("method_id"),
    "task": F("task_id"),
    "seed": F("seed"),
    "priority": F("priority"),
    "step": F("step"),
    "seconds": F("train_seconds"),
}
"""What the table sorts by, beside the name of any headline metric."""


@dataclass(frozen=True)
class RunRow:
    """One line of the table of runs. `metrics` are the newest headline values by name."""

    id: UUID
    number: int
    name: str
    tags: list[str]
    status: Status
    method: str
    method_title: str
    task: str
    student: str
    seed: int
    config_hash: str
    priority: int
    baseline: UUID | None
    created_by: str
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    deleted_at: datetime | None
    metrics: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class RunsPage:
    """One page of the table, and what its filter bar offers: the project's tags, methods, tasks and headline metrics."""

    rows: list[RunRow]
    total: int
    page: int
    pages: int
    size: int
    sort: str
    tags: list[str]
    methods: list[str]
    tasks: list[str]
    metric_names: list[str]


def runs_page(
    project: Project, filters: QueryDict | Mapping[str, Any] | None = None, sort: str = "-created", page: int = 1, size: int = PAGE_SIZE
) -> RunsPage:
    """One page of a project's runs. At most eight statements, however many runs and metrics there are.

    `sort` is a key of COLUMNS or the name of a headline metric, with a minus for largest first; runs without a value come last. A page
    beyond the end is empty. Raises SpecError for a filter, sort or page that makes no sense.
    """
    if not 1 <= page <= MAX_PAGE:
        raise SpecError.at("page", f"must be from 1 to {MAX_PAGE}; got {page}.")
    if not 1 <= size <= MAX_PAGE_SIZE:
        raise SpecError.at("page_size", f"must be from 1 to {MAX_PAGE_SIZE}; got {size}.")
    asked = _asked(project, filters, sort)
    paginator = Paginator(asked.runs, size)
    return _page(asked, paginator, page, list(paginator.page(page)) if page <= paginator.num_pages else [])


def nearest_page(
    project: Project, filters: QueryDict | Mapping[str, Any] | None = None, sort: str = "-created", page: str | None = None
) -> RunsPage:
    """As `runs_page`, for a page as it stands in an address: the first where that is no number, the last where there are not so many."""
    asked = _asked(project, filters, sort)
    paginator = Paginator(asked.runs, PAGE_SIZE)
    shown = paginator.get_page(page)
    return _page(asked, paginator, shown.number, list(shown))


@dataclass(frozen=True)
class _Asked:
    """What was asked for: all `runs` of the project that fit, in their order."""

    project: Project
    runs: "QuerySet[Run]"
    sort: str
    metric_names: list[str]


def _asked(project: Project, filters: QueryDict | Mapping[str, Any] | None, sort: str) -> _Asked:
    chosen = RunFilter(filters or {}, queryset=Run.objects.filter(project=project))
    _check_filters(chosen)
    metric_names = sorted(LatestMetric.objects.filter(run__project=project).order_by().values_list("name", flat=True).distinct())
    fitting = chosen.qs
    if chosen.form.cleaned_data.get("trash") is None:
        fitting = fitting.filter(deleted_at=None)
    return _Asked(project, _as_rows(_sorted(fitting, sort, metric_names)), sort, metric_names)


def rows_by_id(project: int, ids: Collection[UUID]) -> list[RunRow]:
    """The rows of these runs of a project, but for those in the trash. Seven statements at most, however many there are."""
    return _rows(list(_as_rows(Run.objects.filter(project=project, pk__in=ids, deleted_at=None))))


def _as_rows(runs: QuerySet[Run]) -> QuerySet[Run]:
    return runs.select_related("method", "created_by").annotate(attempt_id=_current_attempt("pk"))


def _rows(found: list[Any]) -> list[RunRow]:
    attempts = Attempt.objects.told().in_bulk([run.attempt_id for run in found if run.attempt_id])
    supply = supply_for(found)
    latest: dict[UUID, dict[str, float | None]] = {run.pk: {} for run in found}
    for run_id, name, value in LatestMetric.objects.filter(run__in=found).values_list("run_id", "name", "value"):
        latest[run_id][name] = value
    return [row_of(run, attempts.get(run.attempt_id), latest[run.pk], supply) for run in found]


def _page(asked: _Asked, paginator: "Paginator[Any]", number: int, found: list[Any]) -> RunsPage:
    kept = Run.objects.filter(project=asked.project, deleted_at=None).order_by()
    used = list(kept.values_list("method_id", "task_id").distinct())
    return RunsPage(
        rows=_rows(found),
        total=paginator.count,
        page=number,
        pages=paginator.num_pages,
        size=paginator.per_page,
        sort=asked.sort,
        tags=sorted(kept.annotate(tag=_EachTag("tags", output_field=CharField())).values_list("tag", flat=True).distinct()),
        methods=sorted({method for method, _ in used}),
        tasks=sorted({task for _, task in used}),
        metric_names=asked.metric_names,
    )


def row_of(run: Run, attempt: Attempt | None, metrics: Mapping[str, float | None], supply: Supply | None = None) -> RunRow:
    """A run as a line of the table; `attempt` is its newest, `supply` what it may wait for."""
    return RunRow(
        id=run.pk,
        number=run.number,
        name=run.name,
        tags=run.tags,
        status=status_of(run, attempt, supply),
        method=run.method_id,
        method_title=run.method.title,
        task=run.task_id,
        student=reference_text(run.spec.get("student") or {}),
        seed=run.seed,
        config_hash=run.config_hash,
        priority=run.priority,
        baseline=run.baseline_id,
        created_by=run.created_by.get_username() if run.created_by else "",
        created_at=run.created_at,
        queued_at=run.queued_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        deleted_at=run.deleted_at,
        metrics=metrics,
    )


class _EachTag(Func):
    """One row for each element of an array."""

    function = "unnest"
    set_returning = True


def _current_attempt(run_reference: str) -> Subquery:
    return Subquery(Attempt.objects.filter(run=OuterRef(run_reference), number=OuterRef("attempt")).order_by().values("pk")[:1])


def _sorted(runs: QuerySet[Run], sort: str, metric_names: list[str]) -> QuerySet[Run]:
    name, descending = re.sub(r"^-", "", sort), sort.startswith("-")
    if name in COLUMNS:
        key = COLUMNS[name]
    elif name in metric_names:
        runs = runs.annotate(by=FilteredRelation("latest", condition=Q(latest__name=name)))
        key = F("by__value")
    else:
        raise SpecError.at(
            "sort", f"there is nothing to sort by with the name {name!r:.80}; choose one of {', '.join([*COLUMNS, *metric_names])}."
        )
    return runs.order_by(OrderBy(key, descending=descending, nulls_last=True), "-created_at", "pk")


def _check_filters(chosen: RunFilter) -> None:
    if not chosen.is_valid():
        raise SpecError([Problem(name, str(message)) for name, messages in chosen.errors.items() for message in messages])
