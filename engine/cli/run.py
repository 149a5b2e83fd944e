"""`python -m engine run`: one run on this machine, with a progress bar."""

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from engine.cli.main import FAILED, INTERRUPTED, NEWEST, REFUSED, SUCCEEDED, Refused
from engine.cli.records import Records
from engine.events import Artifact, Evaluation, Event, Log, Outcome, PhaseStarted, Progress
from engine.run import checkpoint
from engine.run.process_group import joined_process_group
from engine.run.runner import execute
from engine.spec import catalog
from engine.spec.run_spec import RunSpec


def run(options: argparse.Namespace) -> int:
    """Makes the run and returns the exit code. Raises SpecError and Refused for what the user got wrong."""
    spec = RunSpec.parse(_text_of(options.spec))
    models = dict(_model(argument) for argument in options.model)
    workdir = options.workdir or Path("runs") / f"{spec.method}-{spec.task}-{spec.seed}"
    console = Console(stderr=True, quiet=options.quiet)
    resume, made = _resume_from(workdir, options.resume, console)
    _make_around(workdir)
    stop = threading.Event()
    with joined_process_group(), _display(console, spec) as display, _interrupts(stop, console):
        records = Records(workdir, made=made)

        def watch(event: Event) -> None:
            records.add(event)
            display.show(event)

        outcome = execute(spec, watch, workdir, models=models, resume=resume, stop=stop.is_set)
    return _report(outcome, workdir, lost=records.close())


def _text_of(argument: str) -> str:
    if argument == "-":
        return sys.stdin.read()
    try:
        return Path(argument).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise Refused(f"the spec {argument} can't be read: {reason}.") from None


def _make_around(workdir: Path) -> None:
    try:
        workdir.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"the folder {workdir} can't be made: {error.strerror}.") from None


def _model(argument: str) -> tuple[str, Path]:
    ref, equals, folder = argument.partition("=")
    if not equals or not ref.startswith("run:") or not folder:
        raise Refused(f"--model takes run:<uuid>=FOLDER; got {argument!r:.120}.")
    return ref, Path(folder)


def _resume_from(workdir: Path, asked: Path | None, console: Console) -> tuple[Path | None, int]:
    """The checkpoint to go on from and its step: the one that was asked for, else the newest that is whole, in which case a line says which."""
    if asked is None:
        if checkpoint.newest(workdir) is not None:
            raise Refused(f"{workdir} holds a run already; go on with --resume, or choose another folder with --workdir.")
        return None, 0
    if asked != NEWEST:
        return asked, checkpoint.read(asked).step
    found, refusals = checkpoint.newest_whole(workdir)
    if found is None:
        damaged = "".join(f" {refusal}" for refusal in refusals)
        raise Refused(f"there is no checkpoint in {workdir} to go on from; leave --resume out to start the run.{damaged}")
    for refusal in refusals:
        console.print(f"Warning: {refusal}", markup=False, emoji=False)
    console.print(f"Going on from {found[0]}.", markup=False, emoji=False)
    return found


def _report(outcome: Outcome, workdir: Path, *, lost: str) -> int:
    """Says how the run ended, and returns the exit code. `lost` is a sentence about lines that could not be kept, or empty."""
    if lost:
        print(f"error: {lost}", file=sys.stderr)
    match outcome.status:
        case "succeeded":
            print(f"{outcome.reason} The student is in {workdir / 'student'}.")
            return FAILED if lost else SUCCEEDED
        case "stopped":
            print(f"{outcome.reason} Go on with --resume --workdir {workdir}.")
            return INTERRUPTED
        case "failed":
            print(f"error: {outcome.reason}", file=sys.stderr)
            return REFUSED if outcome.refused else FAILED


@contextmanager
def _interrupts(stop: threading.Event, console: Console) -> Iterator[None]:
    """The first Ctrl-C asks the run to stop after its step, the second ends the process as usual."""

    def ask(signal_number: int, frame: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        console.print("Stopping after this step, with a checkpoint …")

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _display(console: Console, spec: RunSpec) -> "Iterator[_Display]":
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bar(*columns, console=console) as bar:
        yield _Display(bar, console, catalog.kinds()[spec.kind].headline)


class _Display:
    """Turns events into a bar and lines. Of an evaluation it shows the metrics of the student's headline."""

    def __init__(self, bar: Bar, console: Console, headline: Sequence[str]) -> None:
        self._bar, self._console, self._headline = bar, console, headline
        self._task = bar.add_task("starting", total=None, note="")

    def show(self, event: Event) -> None:
        match event:
            case PhaseStarted():
                self._bar.update(self._task, description=event.name)
            case Progress():
                self._bar.update(self._task, completed=event.step, total=event.total, description=event.phase)
            case Evaluation() if event.final:
                self._console.print(f"{event.subject} on {event.split}: {self._numbers(event)}")
            case Evaluation():
                self._bar.update(self._task, note=self._numbers(event))
            case Artifact(kind="table"):
                self._console.print(f"wrote {event.path}")
            case Log(level="error"):
                self._console.print(event.text, markup=False, emoji=False, highlight=False, style="dim")
            case Log():
                self._console.print(event.text, markup=False, emoji=False)

    def _numbers(self, event: Evaluation) -> str:
        found = [(name, event.metrics.get(name)) for name in self._headline]
        return ", ".join(f"{name} {value:.4f}" for name, value in found if value is not None)
