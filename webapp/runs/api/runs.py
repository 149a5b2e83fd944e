"""Runs over REST: list, look, and what people do to them. Launching adds to these in `webapp.launching.api`."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from webapp.accounts.models import User
from webapp.accounts.permissions import person, project_for
from webapp.api.pagination import envelope
from webapp.api.parameters import whole_number, whole_number_parameter
from webapp.api.responses import reading, writing
from webapp.runs import actions
from webapp.runs.access import run_for
from webapp.runs.api.serializers import RunDetailSerializer, RunSerializer, RunsPageSerializer, detail_of
from webapp.runs.models import Run, State
from webapp.runs.table.filters import LONGEST, RunFilter
from webapp.runs.table.rows import COLUMNS, MAX_PAGE, MAX_PAGE_SIZE, PAGE_SIZE, runs_page

RUNS = ["runs"]
TYPES: dict[str, Any] = {
    "state": {"type": "array", "items": {"type": "string", "enum": State.values}},
    "created_after": OpenApiTypes.DATETIME,
    "created_before": OpenApiTypes.DATETIME,
    "trash": OpenApiTypes.BOOL,
}
"""Of the filters that are not text."""
FILTERS = [
    OpenApiParameter(name, TYPES.get(name, {"type": "string", "maxLength": LONGEST}), description=filter_.extra.get("help_text", ""))
    for name, filter_ in RunFilter.base_filters.items()
]
PAGING = [
    whole_number_parameter("page", "From 1.", least=1, most=MAX_PAGE),
    whole_number_parameter("page_size", f"Runs a page; {PAGE_SIZE} when left out.", least=1, most=MAX_PAGE_SIZE),
]
SORT = OpenApiParameter(
    "sort",
    description=f"{', '.join(COLUMNS)}, or the name of a headline metric; with a minus, largest first. Runs without a value come last.",
)


class Runs(APIView):
    """The runs of a project."""

    @extend_schema(tags=RUNS, operation_id="runs_list", parameters=[*FILTERS, SORT, *PAGING], responses=reading(RunsPageSerializer))
    def get(self, request: Request, slug: str) -> Response:
        """The project's runs: filtered, sorted, in pages."""
        project = project_for(request.user, slug)
        page = whole_number(request.query_params, "page", 1, least=1, most=MAX_PAGE)
        size = whole_number(request.query_params, "page_size", PAGE_SIZE, least=1, most=MAX_PAGE_SIZE)
        assert page is not None and size is not None
        found = runs_page(project, request.query_params, request.query_params.get("sort") or "-created", page, size)
        return Response(envelope(request, [RunSerializer(row).data for row in found.rows], total=found.total, page=page, size=size))


class OneRun(APIView):
    """One run."""

    @extend_schema(tags=RUNS, operation_id="runs_get", responses=reading(RunDetailSerializer))
    def get(self, request: Request, run_id: UUID) -> Response:
        """The run with its spec and its newest headline values."""
        return Response(detail_of(run_for(request.user, run_id)))

    @extend_schema(tags=RUNS, operation_id="runs_edit", request=actions.RunChanges, responses=writing(RunDetailSerializer))
    def patch(self, request: Request, run_id: UUID) -> Response:
        """Changes name, notes, tags, priority, or whether its checkpoints are kept."""
        return Response(detail_of(actions.edit(person(request), run_id, request.data)))

    @extend_schema(tags=RUNS, operation_id="runs_delete", responses=writing(RunDetailSerializer))
    def delete(self, request: Request, run_id: UUID) -> Response:
        """Moves the run to the trash. A run that a worker holds must be stopped first."""
        return Response(detail_of(actions.delete(person(request), run_id)))


class RunAction(APIView):
    """Something that a person does to a run, with nothing to say beside."""

    action: Callable[[User, UUID], Run]

    def post(self, request: Request, run_id: UUID) -> Response:
        return Response(detail_of(type(self).action(person(request), run_id)))


def _described(name: str, sentence: str) -> Any:
    return extend_schema_view(
        post=extend_schema(
            tags=RUNS, operation_id=f"runs_{name}", description=sentence, request=None, responses=writing(RunDetailSerializer)
        )
    )


@_described("stop", "Asks the run to stop after its step, with a checkpoint. A run that nobody holds is stopped at once.")
class StopRun(RunAction):
    action = staticmethod(actions.stop)


@_described("resume", "Queues a stopped or failed run again, to go on from its last checkpoint.")
class ResumeRun(RunAction):
    action = staticmethod(actions.resume)


@_described("retry", "Queues a stopped or failed run again, from the start.")
class RetryRun(RunAction):
    action = staticmethod(actions.retry)


@_described("restore", "Takes the run out of the trash.")
class RestoreRun(RunAction):
    action = staticmethod(actions.restore)
