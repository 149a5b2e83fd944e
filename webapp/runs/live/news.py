"""What happened to a run since a reader last looked: points, log lines, evaluations, status. The live page is sent these and nothing else."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self
from uuid import UUID

from django.template.loader import render_to_string

from webapp.api.parameters import whole_number_in
from webapp.figures.curves import drawable
from webapp.runs.history import curves
from webapp.runs.log import lines_of
from webapp.runs.models import Evaluation, LogLine, Run
from webapp.runs.progress import Status, newest_attempt, status_of, supply_for

MAX_POINTS = 1500
MAX_LINES = 200


@dataclass(frozen=True)
class Mark:
    """How far a reader has seen: the cursor of the curves, the last log line, the last evaluation, and the status that was shown.

    As text, `<cursor>~<log>~<evaluation>`, it is the id of a server-sent event. The status is left out: after a reconnect it is sent again.
    """

    cursor: str = ""
    log: int = 0
    evaluation: int = 0
    status: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From text; whatever is malformed counts as not seen."""
        seen = [whole_number_in(part) for part in text.split("~")][:3]
        cursor, log, evaluation = seen + [None] * (3 - len(seen))
        return cls("" if cursor is None else str(cursor), log or 0, evaluation or 0)

    def __str__(self) -> str:
        return f"{self.cursor}~{self.log}~{self.evaluation}"


@dataclass(frozen=True)
class LiveEvent:
    """One server-sent event."""

    event: str
    data: Mapping[str, Any]
    mark: Mark

    def encode(self) -> str:
        return f"event: {self.event}\nid: {self.mark}\ndata: {json.dumps(self.data, allow_nan=False, separators=(',', ':'))}\n\n"


@dataclass(frozen=True)
class News:
    messages: list[LiveEvent]
    mark: Mark
    ended: bool

    @cached_property
    def text(self) -> str:
        """As sent; made once for all who hear the same."""
        end = f"event: end\nid: {self.mark}\ndata: {{}}\n\n" if self.ended else ""
        return "".join(message.encode() for message in self.messages) + end


def mark_of(run: Run, cursor: str = "") -> Mark:
    """The mark of a page that shows the run as it is now, with curves up to `cursor`."""
    log = LogLine.objects.filter(run=run).order_by("-id").values_list("id", flat=True).first()
    evaluation = Evaluation.objects.filter(run=run).order_by("-id").values_list("id", flat=True).first()
    return Mark(cursor, log or 0, evaluation or 0)


def look(run_id: UUID, marks: Collection[Mark]) -> dict[Mark, News] | None:
    """All since each mark; None where the run is gone. One look serves everyone: two statements, and a few for each place that readers have
    come to. Who may hear it has been asked before (passes.py).

    The run's state is read first: a worker writes the end only after everything else, so an ended run's news are complete.
    """
    run = Run.objects.filter(pk=run_id).first()
    if run is None:
        return None
    status = status_of(run, newest_attempt(run), supply_for([run]))
    html = render_to_string("runs/page/_progress.html", {"status": status})
    since = {place: _since(run, place) for place in {replace(mark, status="") for mark in marks}}
    return {mark: _with_status(since[replace(mark, status="")], mark, status, html) for mark in marks}


def _since(run: Run, mark: Mark) -> list[LiveEvent]:
    messages: list[LiveEvent] = []
    for source in (_points, _evaluations, _log):
        message = source(run, mark)
        if message is not None:
            messages.append(message)
            mark = message.mark
    return messages


def _with_status(messages: list[LiveEvent], mark: Mark, status: Status, html: str) -> News:
    shown = f"{status.word} {html}"
    reached = replace(messages[-1].mark if messages else mark, status=shown)
    if shown == mark.status:
        return News(messages, reached, status.ended)
    told = LiveEvent("status", {"state": status.state, "word": status.word, "html": html}, reached)
    return News([*messages, told], reached, status.ended)


def points_as_json(history: curves.History) -> dict[str, Any]:
    """`{"series": {name: [[step, …], [value, …]]}, "cut_after": …}`; a value that is not finite becomes null."""
    return {
        "series": {name: [curve.steps.tolist(), drawable(curve.values)] for name, curve in history.series.items()},
        "cut_after": history.cut_after,
    }


def _points(run: Run, mark: Mark) -> LiveEvent | None:
    history = curves.history(run, after=mark.cursor or None, points=MAX_POINTS)
    if str(history.cursor) == mark.cursor or not (history.series or history.cut_after is not None):
        return None
    return LiveEvent("points", points_as_json(history), replace(mark, cursor=str(history.cursor)))


def _evaluations(run: Run, mark: Mark) -> LiveEvent | None:
    found = list(
        Evaluation.objects.filter(run=run, id__gt=mark.evaluation).order_by("id").values("id", "step", "subject", "split", "final")
    )
    if not found:
        return None
    return LiveEvent("evaluation", {"evaluations": found}, replace(mark, evaluation=found[-1]["id"]))


def _log(run: Run, mark: Mark) -> LiveEvent | None:
    lines = lines_of(run, after=mark.log, limit=MAX_LINES, tail=True)
    if not lines:
        return None
    return LiveEvent("log", {"html": render_to_string("runs/page/_log_lines.html", {"lines": lines})}, replace(mark, log=lines[-1].id))
