"""The trained models of a project: students of succeeded runs, each with what its run was last judged by."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import F, FilteredRelation, OrderBy, Prefetch, Q, QuerySet

from engine.errors import SpecError
from engine.metrics.cards import HEADLINE, METRICS
from webapp.accounts.models import Project
from webapp.catalog.models import ModelRecord
from webapp.runs.models import LatestMetric

MOST_MODELS = 500
COLUMNS = {
    "name": F("name"),
    "architecture": F("architecture"),
    "parameters": F("parameters"),
    "task": F("task__title"),
    "created": F("created_at"),
}
"""What the models are sorted by, beside the name of any metric."""


def models_of(project: Project, *, task: str = "") -> QuerySet[ModelRecord]:
    """The project's trained models, newest first, each with its run and its teachers; only those of a task when one is named."""
    models = ModelRecord.objects.filter(project=project, run__deleted_at=None)
    if task:
        models = models.filter(task=task)
    parents = Prefetch("parents", queryset=ModelRecord.objects.only("id", "name", "run_id").order_by("name"))
    return models.select_related("run", "task").prefetch_related(parents).order_by("-created_at", "pk")


@dataclass(frozen=True)
class ModelsPage:
    """Models with what their runs were last judged by: `metrics` has the headline values of each by run. `columns` are the metrics that say
    most about the kinds of models there are, one for each kind."""

    models: list[ModelRecord]
    metrics: Mapping[UUID, Mapping[str, float]]
    columns: tuple[str, ...]


def models_page(project: Project, *, task: str = "", sort: str = "-created") -> ModelsPage:
    """The project's models as a table, at most MOST_MODELS. Three statements, however many there are.

    `sort` is a key of COLUMNS or a metric's name, with a minus for largest first; models without a value come last. Raises SpecError.
    """
    models = list(_sorted(models_of(project, task=task), sort)[:MOST_MODELS])
    names = {name for headline in HEADLINE.values() for name in headline}
    metrics: dict[UUID, dict[str, float]] = {model.run_id: {} for model in models}
    found = LatestMetric.objects.filter(run__in=list(metrics), name__in=names)
    for run_id, name, value in found.values_list("run_id", "name", "value"):
        if value is not None:
            metrics[run_id][name] = value
    return ModelsPage(models, metrics, _columns(models, metrics))


def _columns(models: Sequence[ModelRecord], metrics: Mapping[UUID, Mapping[str, float]]) -> tuple[str, ...]:
    """Of each kind the headline metric that most of its models have, among equals the first."""
    columns = {}
    for kind, headline in HEADLINE.items():
        counts = Counter(name for model in models if model.kind == kind for name in headline if name in metrics[model.run_id])
        if counts:
            columns[max(headline, key=lambda name: counts[name])] = True
    return tuple(columns)


def _sorted(models: QuerySet[ModelRecord], sort: str) -> QuerySet[ModelRecord]:
    name, descending = sort.removeprefix("-"), sort.startswith("-")
    if name in METRICS:
        models = models.annotate(by=FilteredRelation("run__latest", condition=Q(run__latest__name=name)))
    elif name not in COLUMNS:
        raise SpecError.at(
            "sort", f"there is nothing to sort by with the name {name!r:.80}; choose one of {', '.join(COLUMNS)} or a metric."
        )
    key = COLUMNS.get(name, F("by__value"))
    return models.order_by(OrderBy(key, descending=descending, nulls_last=True), "-created_at", "pk")
