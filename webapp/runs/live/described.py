"""The stream of a run's news in the OpenAPI schema: no view of REST framework serves it, so it is written down here."""

from typing import Any

from webapp.runs.models import State

PATH = "/runs/{run_id}/events"
NUMBER = {"type": "integer", "minimum": 0}
HTML = {"html": {"type": "string", "description": "For the page."}}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


DATA: dict[str, dict[str, Any]] = {
    "points": _object(
        series={
            "type": "object",
            "description": "Steps and values by the name of the curve.",
            "additionalProperties": {
                "type": "array",
                "minItems": 2,
                "maxItems": 2,
                "items": {"type": "array", "items": {"type": ["number", "null"]}},
            },
        },
        cut_after={"type": ["integer", "null"], "description": "Drop what you have beyond this step first."},
    ),
    "evaluation": _object(
        evaluations={
            "type": "array",
            "items": _object(id=NUMBER, step=NUMBER, subject={"type": "string"}, split={"type": "string"}, final={"type": "boolean"}),
        }
    ),
    "log": _object(**HTML),
    "status": _object(state={"type": "string", "enum": State.values}, word={"type": "string"}, **HTML),
    "end": _object(),
}
"""What each event's `data` is, as JSON, by the event's name."""

OPERATION: dict[str, Any] = {
    "operationId": "runs_events",
    "tags": ["runs"],
    "description": "A run's news as server-sent events, until it has ended: "
    + ", ".join(f"`{name}`" for name in DATA)
    + ". The id of an event, sent back as Last-Event-ID or `after`, is where the stream goes on. For browsers: it takes a session, no token.",
    "parameters": [
        {"in": "path", "name": "run_id", "required": True, "schema": {"type": "string", "format": "uuid"}},
        {"in": "query", "name": "after", "schema": {"type": "string"}, "description": "The id of the last event that was heard."},
    ],
    "security": [{"cookieAuth": []}],
    "responses": {
        "200": {
            "description": "The stream.",
            "content": {"text/event-stream": {"schema": {"type": "object", "properties": DATA}}},
        },
        "401": {"description": "Not signed in."},
        "404": {"description": "There is no such run, or it is not yours to see."},
    },
}


def with_streams(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """A hook of drf-spectacular: the schema with the stream in it."""
    result["paths"][PATH] = {"get": OPERATION}
    return result
