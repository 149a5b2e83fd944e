"""What pages and API ask about runs. Permission is asked inside: nobody holds a run that they may not see."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import CharField, F, FilteredRelation, Func, OrderBy, OuterRef, Q, QuerySet, Subquery
from django.http import Http404, QueryDict

from engine.errors import Problem, SpecError
from webapp.accounts.models import Project, Role
from webapp.accounts.permissions import Person, require, role_subquery, token_of
from webapp.accounts.permissions import project_for as project_for
from webapp.runs.models import Artifact, Attempt, LatestMetric, LogLine, Run
from webapp.runs.progress import Status, status_of
from webapp.runs.table.filters import RunFilter

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

    from webapp.accounts.permissions import HasRole

    RunOfMine = WithAnnotations[Run, HasRole]

PAGE_SIZE = 50
MAX_PAGE_SIZE = 200
MAX_PAGE = 1_000_000
LEAST_COMPARED, MOST_COMPARED = 2, 20

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


def run_for(user: Person, run_id: UUID, at_least: Role = Role.VIEWER) -> "RunOfMine":
    """The run with its project, method, task, creator and baseline, if the person may act on it in that role. One statement.

    Runs in the trash are found too: their page offers to restore them. Raises Http404 for strangers, PermissionDenied for too low a role.
    """
    run = runs_seen_by(user).filter(pk=run_id).select_related("project", "method", "task", "created_by", "baseline").first()
    if run is None:
        raise Http404("There is no such run, or it is not in a project of yours.")
    require(user, run.project, Role(run.my_role), at_least)
    return run


def runs_seen_by(user: Person) -> "QuerySet[RunOfMine]":
    """Every run of the person's projects, in the trash or not, each with `my_role`; those of one project when the request came with a token."""
    seen = Run.objects.annotate(my_role=role_subquery(user, "project_id")).filter(my_role__isnull=False)
    token = token_of(user)
    return seen if token is None else seen.filter(project=token.project_id)


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
    size: int
    sort: str
    tags: list[str]
    methods: list[str]
    tasks: list[str]
    metric_names: list[str]

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // self.size))


def runs_page(
    project: Project, filters: QueryDict | Mapping[str, Any] | None = None, sort: str = "-created", page: int = 1, size: int = PAGE_SIZE
) -> RunsPage:
    """One page of a project's runs. At most seven statements, however many runs and metrics there are.

    `sort` is a key of COLUMNS or the name of a headline metric, with a minus for largest first; runs without a value come last. A page
    beyond the end is empty. Raises SpecError for a filter, sort or page that makes no sense.
    """
    runs = Run.objects.filter(project=project)
    chosen = RunFilter(filters or {}, queryset=runs)
    _check_filters(chosen)
    if not 1 <= page <= MAX_PAGE:
        raise SpecError.at("page", f"must be from 1 to {MAX_PAGE}; got {page}.")
    if not 1 <= size <= MAX_PAGE_SIZE:
        raise SpecError.at("page_size", f"must be from 1 to {MAX_PAGE_SIZE}; got {size}.")
    metric_names = sorted(LatestMetric.objects.filter(run__project=project).order_by().values_list("name", flat=True).distinct())

    shown = chosen.qs
    if chosen.form.cleaned_data.get("trash") is None:
        shown = shown.filter(deleted_at=None)
    total = shown.count()
    ordered = _sorted(shown, sort, metric_names).select_related("method", "created_by").annotate(attempt_id=_current_attempt("pk"))
    found = list(ordered[(page - 1) * size : page * size])
    attempts = Attempt.objects.in_bulk([run.attempt_id for run in found if run.attempt_id])
    latest: dict[UUID, dict[str, float | None]] = {run.pk: {} for run in found}
    for run_id, name, value in LatestMetric.objects.filter(run__in=found).values_list("run_id", "name", "value"):
        latest[run_id][name] = value

    kept = runs.filter(deleted_at=None).order_by()
    used = list(kept.values_list("method_id", "task_id").distinct())
    return RunsPage(
        rows=[row_of(run, attempts.get(run.attempt_id), latest[run.pk]) for run in found],
        total=total,
        page=page,
        size=size,
        sort=sort,
        tags=sorted(kept.annotate(tag=_EachTag("tags", output_field=CharField())).values_list("tag", flat=True).distinct()),
        methods=sorted({method for method, _ in used}),
        tasks=sorted({task for _, task in used}),
        metric_names=metric_names,
    )


def row_of(run: Run, attempt: Attempt | None, metrics: Mapping[str, float | None]) -> RunRow:
    """A run as a line of the table; `attempt` is its newest."""
    student = run.spec.get("student") or {}
    source, name = student.get("source", "builtin"), student.get("name", "")
    return RunRow(
        id=run.pk,
        number=run.number,
        name=run.name,
        tags=run.tags,
        status=status_of(run, attempt),
        method=run.method_id,
        method_title=run.method.title,
        task=run.task_id,
        student=name if source == "builtin" else f"{source}:{name}",
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


def latest_of(run: Run) -> dict[str, float | None]:
    """The run's newest headline values by name."""
    return dict(LatestMetric.objects.filter(run=run).order_by("name").values_list("name", "value"))


def latest_values(run_ids: Sequence[UUID], name: str) -> dict[UUID, float]:
    """The newest value of one headline metric for each of the runs that has one."""
    found = LatestMetric.objects.filter(run__in=run_ids, name=name, value__isnull=False)
    return {run_id: value for run_id, value in found.values_list("run_id", "value") if value is not None}


def latest_by_split(run: Run) -> dict[str, dict[str, float | None]]:
    """As `latest_of`, by the split that each value was measured on: values of different splits are not to be set against each other."""
    found: dict[str, dict[str, float | None]] = {}
    for split, name, value in LatestMetric.objects.filter(run=run).order_by("name").values_list("split", "name", "value"):
        found.setdefault(split, {})[name] = value
    return found


def artifact_for(user: Person, artifact_id: UUID) -> Artifact:
    """An artifact of a run that the person may see. Raises Http404."""
    artifact = Artifact.objects.filter(pk=artifact_id, run__in=runs_seen_by(user).values("pk")).first()
    if artifact is None:
        raise Http404("There is no such artifact, or its run is not in a project of yours.")
    return artifact


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


def log_of(run: Run, *, after: int = 0, limit: int = 200, tail: bool = False) -> list[LogLine]:
    """Lines of the log after the one with this id, oldest first: the first `limit` of them, or the last with `tail`."""
    lines = LogLine.objects.filter(run=run, id__gt=after)
    return list(lines.order_by("-id")[:limit])[::-1] if tail else list(lines.order_by("id")[:limit])


def newest_attempt(run: Run) -> Attempt | None:
    return Attempt.objects.filter(run=run).order_by("-number").first()


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
