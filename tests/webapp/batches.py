"""Batches of metrics, as a worker commits them."""

from webapp.runs import doorbell
from webapp.runs.models import MetricBatch, MetricPoint, MetricSeries, Run


def write_points(run: Run, *points: tuple[int, float], name: str = "loss") -> None:
    """A batch, as a worker commits it, and its ring."""
    series, _ = MetricSeries.objects.get_or_create(run=run, name=name)
    MetricPoint.objects.bulk_create([MetricPoint(series=series, step=step, value=value) for step, value in points])
    number = run.batches.count() + 1
    MetricBatch.objects.create(
        run=run, number=number, attempt=1, series=series, first_step=points[0][0], last_step=points[-1][0], points=len(points)
    )
    doorbell.announce(run.pk, ["points"], batch=number)
