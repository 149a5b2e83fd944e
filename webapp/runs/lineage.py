"""Which trained models a run learns from, and the model that it becomes."""

from uuid import UUID

from django.db.models import F

from engine.spec.reference import run_reference
from webapp.catalog.models import ModelRecord
from webapp.runs.models import Artifact, Run, State


def models_of(run: Run) -> dict[str, str]:
    """`run:<uuid>` → store-relative folder of each trained model that the spec names, of this project only.

    One that has gone is left out: the engine then says which is missing.
    """
    references = [*run.spec.get("teachers", []), run.spec.get("student")]
    names = {UUID(ref["name"]) for ref in references if isinstance(ref, dict) and ref.get("source") == "run"}
    exported = Artifact.objects.filter(
        kind="model", run__in=names, run__project=run.project_id, run__state=State.SUCCEEDED, attempt=F("run__attempt")
    )
    return {run_reference(run_id): path for run_id, path in exported.values_list("run_id", "path")}


def record_student(run: Run) -> None:
    """The run's student becomes a model that others may learn from. Its parents are the models that taught it."""
    exported = Artifact.objects.filter(run=run, attempt=run.attempt, kind="model").order_by("created_at").last()
    if exported is None:
        return
    meta = exported.meta
    record, _ = ModelRecord.objects.update_or_create(
        run=run,
        defaults={
            "project_id": run.project_id,
            "name": run.name,
            "task_id": run.task_id,
            "kind": meta.get("kind", ""),
            "architecture": meta.get("architecture", ""),
            "parameters": meta.get("parameters"),
            "meta": meta,
        },
    )
    record.parents.set(run.teachers.all())
