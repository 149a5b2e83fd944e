"""What pages and API ask about methods and tasks."""

from django.db.models import QuerySet
from django.http import Http404

from webapp.catalog.models import Method, Task


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
