"""Every error of the REST API in one of two shapes: 400 `{"errors": [{"field", "message"}]}`, any other `{"detail": "One sentence."}`."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import RequestDataTooBig
from rest_framework import exceptions, serializers, status
from rest_framework.response import Response
from rest_framework.views import exception_handler

from engine.errors import Problem, SpecError
from webapp.api.body import too_large
from webapp.conflict import Conflict
from webapp.gate.refusal import NotNow

SENTENCES = {
    exceptions.NotAuthenticated: "Sign in, or send a token: Authorization: Bearer shp_….",
    exceptions.UnsupportedMediaType: "Send the body as JSON, with the header Content-Type: application/json.",
    exceptions.NotAcceptable: "Answers are JSON; send the header Accept: application/json.",
}


class ProblemSerializer(serializers.Serializer[Problem]):
    """One refused field: its path (`settings.temperature`; empty for the whole) and a sentence that says what would be right."""

    field = serializers.CharField(allow_blank=True)
    message = serializers.CharField()


class ErrorsSerializer(serializers.Serializer[Any]):
    errors = ProblemSerializer(many=True)  # type: ignore[assignment]


class DetailSerializer(serializers.Serializer[Any]):
    detail = serializers.CharField()


def response_to(error: Exception, context: dict[str, Any]) -> Response | None:
    """The API's response to an exception; None for a bug, which Django logs and to which it responds with 500."""
    match error:
        case SpecError():
            return _refused(error.problems)
        case exceptions.ValidationError():
            return _refused(_flattened(error.detail, ""))
        case exceptions.ParseError():
            return _refused([Problem("", str(error.detail))])
        case NotNow():
            return Response({"detail": str(error)}, status=error.status, headers={"Retry-After": str(error.seconds)})
        case Conflict():
            return Response({"detail": str(error)}, status=status.HTTP_409_CONFLICT)
        case RequestDataTooBig():
            return Response({"detail": too_large()}, status=status.HTTP_413_REQUEST_ENTITY_TOO_LARGE)
    response = exception_handler(error, context)
    if response is not None and type(error) in SENTENCES:
        response.data = {"detail": SENTENCES[type(error)]}
    return response


def _refused(problems: list[Problem]) -> Response:
    return Response(
        {"errors": [{"field": problem.field, "message": problem.message} for problem in problems]}, status=status.HTTP_400_BAD_REQUEST
    )


def _flattened(detail: Any, at: str) -> list[Problem]:
    """DRF's nested dictionary of lists of messages as a flat list with paths."""
    if isinstance(detail, Mapping):
        items = [("" if key == "non_field_errors" else str(key), inner) for key, inner in detail.items()]
        return [problem for key, inner in items for problem in _flattened(inner, ".".join(part for part in (at, key) if part))]
    if isinstance(detail, list):
        nested = any(isinstance(inner, Mapping | list) for inner in detail)
        items = [(f"{at}.{index}" if nested and at else at, inner) for index, inner in enumerate(detail)]
        return [problem for path, inner in items for problem in _flattened(inner, path)]
    return [Problem(at, str(detail))]
