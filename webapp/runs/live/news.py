"""What happened to a run since a reader last looked: points, log lines, evaluations, status. The live page is told these and nothing else."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self
from uuid import UUID

from django.template.loader import render_to_string

from webapp.accounts.models import User
from webapp.figures.curves import drawable
from webapp.runs import queries
from webapp.runs.history import curves
from webapp.runs.models import Evaluation, LogLine, Run
from webapp.runs.progress import Status, status_of

MAX_POINTS = 1500
MAX_LINES = 200


@dataclass(frozen=True)
class Mark:
    """How far a reader has seen: the cursor of the curves, the last log line, the last evaluation, and the status that was shown.

    As text, `<cursor>~<log>~<evaluation>`, it is the id of a server-sent event. The status is left out: after a reconnect it is told again.
    """

    cursor: str = ""
    log: int = 0
    evaluation: int = 0
    status: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From text; whatever is malformed counts as not seen."""
        cursor, *rest = text.split("~")
        log, evaluation = ([int(part) if part.isdecimal() and len(part) < 19 else 0 for part in rest] + [0, 0])[:2]
        return cls(cursor if cursor.isdecimal() and len(cursor) < 19 else "", log, evaluation)

    def __str__(self) -> str:
        return f"{self.cursor}~{self.log}~{self.evaluation}"


@dataclass(frozen=True)
class Message:
    """One server-sent event."""

    event: str
    data: Mapping[str, Any]
    mark: Mark

    def encode(self) -> str:
        return f"event: {self.event}\nid: {self.mark}\ndata: {json.dumps(self.data, allow_nan=False, separators=(',', ':'))}\n\n"


@dataclass(frozen=True)
class News:
    messages: list[Message]
    mark: Mark
    ended: bool


def mark_of(run: Run, cursor: str = "") -> Mark:
    """The mark of a page that shows the run as it is now, with curves up to `cursor`."""
    log = LogLine.objects.filter(run=run).order_by("-id").values_list("id", flat=True).first()
    evaluation = Evaluation.objects.filter(run=run).order_by("-id").values_list("id", flat=True).first()
    return Mark(cursor, log or 0, evaluation or 0)


def news_since(user: User, run_id: UUID, mark: Mark) -> News:
    """All since `mark`. Asks for the permission each time, so that a member who was removed hears nothing more.

    The run's state is read first: a worker writes the end only after everything else, so an ended run's news are complete.
    """
    run = queries.run_for(user, run_id)
    status = status_of(run, run.attempts.order_by("-number").first())
    messages: list[Message] = []
    for source in (_points, _evaluations, _log, _status):
        message = source(run, status, mark)
        if message is not None:
            messages.append(message)
            mark = message.mark
    return News(messages, mark, status.ended)


def points_as_json(history: curves.History) -> dict[str, Any]:
    """`{"series": {name: [[step, …], [value, …]]}, "cut_after": …}`; a value that is not finite becomes null."""
    return {
        "series": {name: [curve.steps.tolist(), drawable(curve.values)] for name, curve in history.series.items()},
        "cut_after": history.cut_after,
    }


def _points(run: Run, status: Status, mark: Mark) -> Message | None:
    history = curves.history(run, after=mark.cursor or None, points=MAX_POINTS)
    if str(history.cursor) == mark.cursor or not (history.series or history.cut_after is not None):
        return None
    return Message("points", points_as_json(history), replace(mark, cursor=str(history.cursor)))


def _evaluations(run: Run, status: Status, mark: Mark) -> Message | None:
    found = list(
        Evaluation.objects.filter(run=run, id__gt=mark.evaluation).order_by("id").values("id", "step", "subject", "split", "final")
    )
    if not found:
        return None
    return Message("evaluation", {"evaluations": found}, replace(mark, evaluation=found[-1]["id"]))


def _log(run: Run, status: Status, mark: Mark) -> Message | None:
    lines = list(LogLine.objects.filter(run=run, id__gt=mark.log).order_by("-id")[:MAX_LINES])[::-1]
    if not lines:
        return None
    return Message("log", {"html": render_to_string("runs/_log_lines.html", {"lines": lines})}, replace(mark, log=lines[-1].id))


def _status(run: Run, status: Status, mark: Mark) -> Message | None:
    html = render_to_string("runs/_progress.html", {"status": status})
    shown = f"{status.word} {html}"
    if shown == mark.status:
        return None
    return Message("status", {"state": status.state, "word": status.word, "html": html}, replace(mark, status=shown))
