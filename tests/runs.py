"""Runs for tests, as a launch would make them, and the rows that they need."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from engine.spec.run_spec import RunSpec
from webapp.accounts.models import Project
from webapp.catalog import sync
from webapp.catalog.models import Method
from webapp.launching.launch import take_numbers
from webapp.runs import lifecycle
from webapp.runs.history import points
from webapp.runs.models import MetricSeries, Run


def new_project(slug: str = "distillery") -> Project:
    """A project, in a database that knows the catalog."""
    if not Method.objects.exists():
        sync.sync()
    return Project.objects.get_or_create(slug=slug, defaults={"name": slug.title()})[0]


def new_run(
    project: Project | None = None,
    *,
    name: str = "run",
    priority: int = 0,
    device_kind: str = "cpu",
    seconds_limit: int | None = None,
    **spec: Any,
) -> Run:
    """A draft: `supervised` on `digits` unless the spec says otherwise."""
    parsed = RunSpec.parse({"method": "supervised", "task": "digits", "budget": {"steps": 20}, "device": "cpu"} | spec)
    project = project or new_project()
    with transaction.atomic():
        (number,) = take_numbers(project)
    return Run.objects.create(
        project=project,
        number=number,
        name=name,
        method_id=parsed.method,
        task_id=parsed.task,
        spec=parsed.model_dump(mode="json"),
        config_hash=parsed.config_hash(),
        seed=parsed.seed,
        priority=priority,
        seconds_limit=seconds_limit,
        device_kind=device_kind,
        device_count=parsed.devices,
        total_steps=parsed.total_steps,
    )


def queued_run(project: Project | None = None, **about: Any) -> Run:
    return lifecycle.submit(new_run(project, **about), who="ann")


def claim(worker: str = "worker-1", *, free: Mapping[str, int] | None = None) -> lifecycle.ClaimedRun | None:
    return lifecycle.claim_next(worker=worker, kinds=("cpu", "cuda"), free={"cpu": 1} if free is None else free)


def running_claim(**about: Any) -> lifecycle.ClaimedRun:
    """The claim of a run that was just queued and started."""
    queued_run(**about)
    held = claim()
    assert held is not None
    lifecycle.started(held.token, pid=1234, device="CPU, 1 thread")
    return held


def history_of(run_id: Any) -> dict[str, tuple[list[int], list[float]]]:
    """Steps and values of every series of a run, by name."""
    series = {row.pk: row.name for row in MetricSeries.objects.filter(run_id=run_id)}
    return {series[key]: (steps.tolist(), values.tolist()) for key, (steps, values) in points.raw(series).items()}
