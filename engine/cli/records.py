"""A run's numbers on disk, a JSON object a line: `metrics.jsonl` with the terms of each step and the learning
rate at each evaluation, `evaluations.jsonl` with what was measured."""

import json
import math
import os
from pathlib import Path
from typing import Any

from engine.errors import StorageError
from engine.events import Checkpoint, Evaluation, Event, Metrics, Outcome
from engine.run.process_group import is_main_process
from engine.run.storage import writing

METRICS, EVALUATIONS = "metrics.jsonl", "evaluations.jsonl"
MEASURED = ("validation/", "diagnostics/")
"""Series that an evaluation says too."""


class Records:
    """Keeps what a run reports in its folder. What finds no room waits in memory and is tried again with the next checkpoint; at the end
    `close` says what is lost.

    Of what an earlier start left in the folder, the lines of the `made` steps stay: those after the checkpoint that the run goes on from are
    made again.
    """

    def __init__(self, workdir: Path, *, made: int) -> None:
        self._workdir, self._made = workdir, made
        self._waiting: dict[str, list[tuple[int, dict[str, Any]]]] = {METRICS: [], EVALUATIONS: []}
        self._begun = False

    def add(self, event: Event) -> None:
        """Takes an event; writes with checkpoints, evaluations and the end, so that a step costs no file."""
        match event:
            case Metrics():
                if terms := {name: value for name, value in event.values.items() if not name.startswith(MEASURED)}:
                    self._waiting[METRICS].append((event.step, terms))
            case Evaluation():
                fields = {"subject": event.subject, "split": event.split, "final": event.final, "metrics": event.metrics}
                self._waiting[EVALUATIONS].append((event.step, fields))
                self._write()
            case Checkpoint() | Outcome():
                self._write()

    def close(self) -> str:
        """Writes what waits, and returns a sentence where that could not be done."""
        try:
            self._write(last=True)
        except StorageError as error:
            return f"{error} The last {sum(map(len, self._waiting.values()))} lines are lost."
        return ""

    def _write(self, *, last: bool = False) -> None:
        if not is_main_process():
            return
        for name, lines in self._waiting.items():
            if not lines:
                continue
            text = "".join(json.dumps({"step": step, **_plain(fields)}) + "\n" for step, fields in lines)
            try:
                with writing(name, self._workdir, needed=len(text)):
                    self._workdir.mkdir(exist_ok=True)
                    if not self._begun:
                        self._begin()
                    _append(self._workdir / name, text.encode())
            except StorageError:
                if last:
                    raise
                continue
            lines.clear()

    def _begin(self) -> None:
        for name in self._waiting:
            path = self._workdir / name
            if path.exists():
                partial = path.with_name(f".partial-{name}")
                partial.write_text("".join(_up_to(path, self._made)), encoding="utf-8")
                partial.replace(path)
        self._begun = True


def _append(path: Path, data: bytes) -> None:
    """Adds to a file, all or nothing: what was written before the disk was full is taken back."""
    with path.open("ab", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(size)
            raise


def _up_to(path: Path, step: int) -> list[str]:
    """The whole lines of these steps. What a final evaluation said of the last of them is made again too."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            fields = json.loads(line)
            if line.endswith("\n") and fields["step"] <= step and not fields.get("final"):
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue  # cut off by a kill
    return kept


def _plain(value: Any) -> Any:
    """Tensors as numbers, and None for what is not finite, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if value is None or isinstance(value, str | bool):
        return value
    number = float(value)
    return number if math.isfinite(number) else None
