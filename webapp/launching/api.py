"""Launching over REST: new runs in a project's list, and clones."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from webapp.accounts.models import Role
from webapp.accounts.permissions import person, project_for
from webapp.api.responses import writing
from webapp.launching.continuing import ContinueBody, go_on
from webapp.launching.launch import CloneBody, LaunchBody, clone, launch_or_repeat
from webapp.runs.access import run_for
from webapp.runs.api.runs import RUNS, Runs
from webapp.runs.api.serializers import RunDetailSerializer, detail_of

KEY = OpenApiParameter(
    "Idempotency-Key",
    location=OpenApiParameter.HEADER,
    description="Any text of yours. The same key with the same body gives the same runs, however often it comes.",
)


class LaunchedSerializer(serializers.Serializer[Any]):
    """The launched runs, one a seed, followed by their baselines."""

    runs = RunDetailSerializer(many=True)


class RunsAndLaunch(Runs):
    """The runs of a project, and where new ones are launched."""

    @extend_schema(
        tags=RUNS,
        operation_id="runs_launch",
        parameters=[KEY],
        request=LaunchBody,
        responses={**writing(LaunchedSerializer, code=201), 200: LaunchedSerializer},
    )
    def post(self, request: Request, slug: str) -> Response:
        """Launches a run for each seed, and their baselines when asked for. Returns 200 when the idempotency key has been here with this body."""
        project = project_for(request.user, slug, Role.OPERATOR)
        runs, are_new = launch_or_repeat(project, person(request), request.data, request.headers.get("Idempotency-Key"))
        code = status.HTTP_201_CREATED if are_new else status.HTTP_200_OK
        return Response({"runs": [detail_of(run, is_new=are_new) for run in runs]}, status=code)


class CloneRun(APIView):
    @extend_schema(tags=RUNS, operation_id="runs_clone", request=CloneBody, responses=writing(RunDetailSerializer, code=201))
    def post(self, request: Request, run_id: UUID) -> Response:
        """Launches the run's spec again with what the body replaces: any field of a launch; of settings and task options only those named."""
        made = clone(run_for(request.user, run_id, Role.OPERATOR), person(request), request.data)
        return Response(detail_of(made, is_new=True), status=status.HTTP_201_CREATED)


class ContinueRun(APIView):
    @extend_schema(tags=RUNS, operation_id="runs_continue", request=ContinueBody, responses=writing(RunDetailSerializer, code=201))
    def post(self, request: Request, run_id: UUID) -> Response:
        """Launches a new run that goes on from the last checkpoint of this one, which has ended, with a larger budget."""
        made = go_on(run_for(request.user, run_id, Role.OPERATOR), person(request), request.data)
        return Response(detail_of(made, is_new=True), status=status.HTTP_201_CREATED)
