"""A closer look at a run: the views that its task and its method left, among its evaluations and its artifacts."""

from collections import OrderedDict
from threading import Lock
from typing import Any
from uuid import UUID

from django.http import Http404

from webapp import store
from webapp.runs.models import Artifact, Evaluation, Run

MOST_BYTES = 1_000_000
MOST_ARTIFACTS = 24
KEPT_BYTES = 8_000_000
"""Of the files whose tables a process keeps; as objects they take some times as much."""
NOTHING = 200
"""Bytes of an entry that says of an artifact that it is no view."""


def tables_of(run: Run) -> dict[str, Any]:
    """All views of a run by name: of the evaluation that it is judged by, of the newest validation, and among its artifacts.

    An artifact is the method's last word: it stands in for a table of the same name.
    """
    student = Evaluation.objects.filter(run=run, subject="student")
    validated = student.filter(split="validation").judging().first()
    judged = student.judging().first()
    tables = {name: table for one in (validated, judged) if one is not None for name, table in one.tables.items()}
    artifacts = Artifact.objects.filter(run=run, kind="table", bytes__lte=MOST_BYTES).order_by("name", "-attempt").distinct("name")
    return tables | {one.name: table for one in artifacts[:MOST_ARTIFACTS] if (table := _read.of(one)) is not None}


def _content(artifact: Artifact) -> dict[str, Any] | None:
    """The table in the store; None where it is no view. Raises Http404 or OSError where it can't be read."""
    try:
        with store.opened(store.existing(artifact.path)) as file:
            table = store.parsed(file.read(MOST_BYTES))
    except (ValueError, RecursionError):
        return None
    return table if isinstance(table, dict) and "view" in table else None


class _Kept:
    """Artifacts' tables that were read, since a page asks again at each of a run's evaluations. An artifact never changes. The longest unasked
    go first, when together they are of more than `most_bytes`; of one that is no view only that is kept."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._held, self._bytes, self._lock = most_bytes, OrderedDict[UUID, tuple[int, dict[str, Any] | None]](), 0, Lock()

    def of(self, artifact: Artifact) -> dict[str, Any] | None:
        """The artifact's table; None where it can't be read now, which is asked again, or is no view."""
        with self._lock:
            if artifact.pk in self._held:
                self._held.move_to_end(artifact.pk)
                return self._held[artifact.pk][1]
        try:
            table = _content(artifact)
        except (Http404, OSError):
            return None
        with self._lock:
            if artifact.pk not in self._held:
                size = artifact.bytes if table is not None else NOTHING
                self._held[artifact.pk] = (size, table)
                self._bytes += size
                while self._bytes > self._most:
                    self._bytes -= self._held.popitem(last=False)[1][0]
        return table


_read = _Kept(KEPT_BYTES)
