"""What a run has left, over REST: curves, evaluations, artifacts, log, attempts, history."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from webapp.api.parameters import choice, flag, whole_number, whole_number_parameter
from webapp.api.responses import reading
from webapp.runs.access import run_for
from webapp.runs.api.serializers import (
    ArtifactSerializer,
    AttemptSerializer,
    BriefEvaluationSerializer,
    EvaluationSerializer,
    HistoryLineSerializer,
    HistorySerializer,
    LogLineSerializer,
    LogSerializer,
)
from webapp.runs.history import curves
from webapp.runs.log import lines_of
from webapp.runs.models import Artifact, Attempt, Evaluation, HistoryLine

RECORD = ["what a run has left"]
DEFAULT_POINTS = 1000
MAX_POINTS = 100_000
DEFAULT_LINES = 200
MAX_LINES = 1000
SUBJECTS = ("student", "teacher")
SPLITS = ("validation", "test")
AFTER = OpenApiParameter("after", description="The cursor of an earlier response: only what is newer.")


class RunMetrics(APIView):
    @extend_schema(
        tags=RECORD,
        operation_id="runs_metrics",
        parameters=[
            AFTER,
            OpenApiParameter("series", description="Names with commas between them; all when left out."),
            whole_number_parameter(
                "points",
                f"At most so many points of each curve; {DEFAULT_POINTS} when left out.",
                least=curves.LEAST_POINTS,
                most=MAX_POINTS,
            ),
            whole_number_parameter("first", "Only steps from here on."),
            whole_number_parameter("last", "Only steps up to here."),
        ],
        responses=reading(HistorySerializer),
    )
    def get(self, request: Request, run_id: UUID) -> Response:
        """The run's curves. Long ones are thinned out, and keep every minimum and maximum that a chart of so many points can show."""
        run = run_for(request.user, run_id)
        found = curves.history(
            run,
            series=names_among(request, "series"),
            after=request.query_params.get("after") or None,
            points=whole_number(request.query_params, "points", DEFAULT_POINTS, least=curves.LEAST_POINTS, most=MAX_POINTS),
            first=whole_number(request.query_params, "first"),
            last=whole_number(request.query_params, "last"),
        )
        return Response(
            {
                "cursor": found.cursor,
                "cut_after": found.cut_after,
                "series": {name: curve_json(curve) for name, curve in found.series.items()},
            }
        )


def curve_json(curve: curves.Curve) -> dict[str, list[Any]]:
    return {"steps": curve.steps.tolist(), "values": curve.values.tolist()}


def names_among(request: Request, parameter: str) -> list[str] | None:
    """The names with commas between them; None when there is none."""
    return [name.strip() for name in request.query_params.get(parameter, "").split(",") if name.strip()] or None


@extend_schema_view(
    get=extend_schema(
        tags=RECORD,
        operation_id="runs_evaluations",
        responses=reading(EvaluationSerializer(many=True)),
        parameters=[
            OpenApiParameter("subject", enum=SUBJECTS),
            OpenApiParameter("split", enum=SPLITS),
            OpenApiParameter("final", OpenApiTypes.BOOL, description="true: only those at the end."),
            OpenApiParameter("tables", OpenApiTypes.BOOL, description="true: with the tables that pictures are made from."),
        ],
    )
)
class Evaluations(ListAPIView[Evaluation]):
    """How student and teacher did, by step."""

    serializer_class = EvaluationSerializer

    def get_serializer_class(self) -> type[BaseSerializer[Evaluation]]:
        return EvaluationSerializer if self._flag("tables") else BriefEvaluationSerializer

    def get_queryset(self) -> QuerySet[Evaluation]:
        run = run_for(self.request.user, self.kwargs["run_id"])
        found = Evaluation.objects.filter(run=run).order_by("step", "id")
        for field, choices in (("subject", SUBJECTS), ("split", SPLITS)):
            if value := choice(self.request.query_params, field, choices):
                found = found.filter(**{field: value})
        if self._flag("final"):
            found = found.filter(final=True)
        return found if self._flag("tables") else found.defer("tables")

    def _flag(self, name: str) -> bool:
        return flag(self.request.query_params, name)


@extend_schema_view(get=extend_schema(tags=RECORD, operation_id="runs_artifacts", responses=reading(ArtifactSerializer(many=True))))
class Artifacts(ListAPIView[Artifact]):
    """Files and folders that the run has left, the newest attempt's first."""

    serializer_class = ArtifactSerializer

    def get_queryset(self) -> QuerySet[Artifact]:
        run = run_for(self.request.user, self.kwargs["run_id"])
        return Artifact.objects.filter(run=run).order_by("-attempt", "name")


@extend_schema_view(get=extend_schema(tags=RECORD, operation_id="runs_attempts", responses=reading(AttemptSerializer(many=True))))
class Attempts(ListAPIView[Attempt]):
    """Who tried to run it, when, on what, and how that ended."""

    serializer_class = AttemptSerializer

    def get_queryset(self) -> QuerySet[Attempt]:
        run = run_for(self.request.user, self.kwargs["run_id"])
        return Attempt.objects.told().filter(run=run).order_by("number")


@extend_schema_view(get=extend_schema(tags=RECORD, operation_id="runs_history", responses=reading(HistoryLineSerializer(many=True))))
class StateHistory(ListAPIView[HistoryLine]):
    """Every change of the run's state: who, when, why."""

    serializer_class = HistoryLineSerializer

    def get_queryset(self) -> QuerySet[HistoryLine]:
        run = run_for(self.request.user, self.kwargs["run_id"])
        return HistoryLine.objects.filter(run=run).order_by("id")


class RunLog(APIView):
    @extend_schema(
        tags=RECORD,
        operation_id="runs_logs",
        parameters=[
            AFTER,
            whole_number_parameter("limit", f"At most so many lines; {DEFAULT_LINES} when left out.", least=1, most=MAX_LINES),
            OpenApiParameter("tail", OpenApiTypes.BOOL, description="true: the last lines in place of the first."),
        ],
        responses=reading(LogSerializer),
    )
    def get(self, request: Request, run_id: UUID) -> Response:
        """The run's log, oldest line first."""
        run = run_for(request.user, run_id)
        limit = whole_number(request.query_params, "limit", DEFAULT_LINES, least=1, most=MAX_LINES)
        after = whole_number(request.query_params, "after", 0)
        assert limit is not None and after is not None
        lines = lines_of(run, after=after, limit=limit, tail=flag(request.query_params, "tail"))
        return Response({"cursor": str(lines[-1].pk if lines else after), "results": LogLineSerializer(lines, many=True).data})
