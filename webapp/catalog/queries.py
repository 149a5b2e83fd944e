"""What pages and API ask about methods, tasks and models."""

from django.db.models import Prefetch, QuerySet
from django.http import Http404

from webapp.accounts.models import Project
from webapp.catalog.models import Method, ModelRecord, Task


def methods() -> QuerySet[Method]:
    """Those that can be launched, by family and title, without their pages' texts."""
    return Method.objects.filter(available=True).defer("readme").order_by("family", "title", "id")


def method_for(method_id: str) -> Method:
    """A method, also one that has gone: runs still point at it. Raises Http404."""
    method = Method.objects.filter(pk=method_id).first()
    if method is None:
        raise Http404(f"There is no method {method_id!r:.80}.")
    return method


def tasks() -> QuerySet[Task]:
    return Task.objects.filter(available=True).order_by("title", "id")


def models_of(project: Project, *, task: str = "") -> QuerySet[ModelRecord]:
    """The project's trained models, newest first, each with its run and its teachers; only those of a task when one is named."""
    models = ModelRecord.objects.filter(project=project, run__deleted_at=None)
    if task:
        models = models.filter(task=task)
    parents = Prefetch("parents", queryset=ModelRecord.objects.only("id", "name", "run_id").order_by("name"))
    return models.select_related("run", "task").prefetch_related(parents).order_by("-created_at", "pk")
