"""The headline of a run: the metrics that a student of its kind is judged by first, and their newest values.

The values are kept in a table of their own, so that the table of runs never touches history.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from engine.spec import catalog
from webapp.runs.models import Evaluation, LatestMetric, Run


def headline_of(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the metrics that the run's student is judged by first, after its kind."""
    return catalog.kind_of(spec).headline


def refresh(run_id: UUID) -> None:
    """Makes the run's newest values from the evaluation that judges it, in the transaction that changed its evaluations."""
    judging = Evaluation.objects.filter(run=run_id, subject="student").judging().only("metrics", "step", "split").first()
    metrics = {} if judging is None else judging.metrics
    LatestMetric.objects.filter(run=run_id).exclude(name__in=list(metrics)).delete()
    if judging is None:
        return
    LatestMetric.objects.bulk_create(
        [
            LatestMetric(run_id=run_id, name=name, value=_number(value), step=judging.step, split=judging.split)
            for name, value in metrics.items()
        ],
        update_conflicts=True,
        unique_fields=["run", "name"],
        update_fields=["value", "step", "split"],
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


def _number(value: Any) -> float | None:
    """A metric that is no number is kept as undefined."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
