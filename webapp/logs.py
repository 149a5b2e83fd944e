"""How web, worker and beat log: lines for people or JSON for machines, each with the run and the attempt that it is about, in files of bounded size."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from typing import Any
from uuid import UUID

FORMATS = ("line", "json")
OLDER_FILES = 4
"""Kept beside the one that is written: `worker.log.1` is the youngest of them."""

_about: ContextVar[tuple[UUID, int] | None] = ContextVar("about", default=None)


@contextmanager
def about(run_id: UUID, attempt: int) -> Iterator[None]:
    """Whatever this thread logs meanwhile is about this attempt of the run."""
    before = _about.set((run_id, attempt))
    try:
        yield
    finally:
        _about.reset(before)


class AboutRun(logging.Filter):
    """Gives each record `run` and `attempt`, None where it is about neither. What the caller gave as `extra` stands."""

    def filter(self, record: logging.LogRecord) -> bool:
        run, attempt = _about.get() or (None, None)
        record.run = getattr(record, "run", run)
        record.attempt = getattr(record, "attempt", attempt)
        return True


class LineFormatter(logging.Formatter):
    """One line, and a traceback below it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        known = [f"{name} {value}" for name in ("run", "attempt") if (value := getattr(record, name, None)) is not None]
        return super().formatMessage(record) + (f" [{', '.join(known)}]" if known else "")


class Json(logging.Formatter):
    """One object a line, whatever is in it."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "run": getattr(record, "run", None),
            "attempt": getattr(record, "attempt", None),
            "traceback": self.formatException(record.exc_info) if record.exc_info else None,
        }
        return json.dumps({name: value for name, value in said.items() if value is not None}, default=str)


class BoundedFile(RotatingFileHandler):
    """A file that is put aside when it is full. Where standard output is the same file, it moves on too: what is printed has no other bound."""

    def doRollover(self) -> None:
        printed = [descriptor for descriptor in (1, 2) if self.stream is not None and _is_same(descriptor, self.stream.fileno())]
        super().doRollover()
        for descriptor in printed:
            os.dup2(self._opened(), descriptor)

    def _opened(self) -> int:
        if self.stream is None:
            self.stream = self._open()
        return self.stream.fileno()


def _is_same(descriptor: int, other: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.fstat(other))
    except OSError:
        return False


def adopt(*names: str) -> None:
    """What a library has set up for its own loggers gives way: their lines go where ours go. One that it has switched off stays so."""
    for logger in map(logging.getLogger, names):
        if logger.handlers:
            logger.handlers.clear()
            logger.propagate = True


def configuration(*, level: str, form: str, file: str, megabytes: int) -> dict[str, Any]:
    """For Django's LOGGING. Without a `file` all goes to standard error."""
    kept: dict[str, Any] = {"class": "logging.StreamHandler"}
    if file:
        kept = {"()": BoundedFile, "filename": file, "maxBytes": megabytes * 2**20, "backupCount": OLDER_FILES, "encoding": "utf-8"}
    # A line for each doorbell and each look of the watchdog says nothing, and is most of what an idle worker would write.
    routine = {"level": "DEBUG" if level == "DEBUG" else "WARNING"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"run": {"()": AboutRun}},
        "formatters": {"line": {"()": LineFormatter}, "json": {"()": Json}},
        "handlers": {"out": kept | {"formatter": form, "filters": ["run"]}},
        "root": {"handlers": ["out"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            "axes": {"level": "WARNING"},
            **dict.fromkeys(("celery.worker.strategy", "celery.app.trace", "celery.beat"), routine),
        },
    }
