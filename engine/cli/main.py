"""The command line: `python -m engine run | methods | tasks | evidence`. Needs no database and no server.

Exit codes: 0 succeeded, 1 the run failed, 2 the input was refused (the spec, a device, a model, data, a checkpoint), 130 stopped by Ctrl-C
(with a checkpoint: `--resume` goes on).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from engine.errors import EngineError, SpecError
from engine.spec import catalog

WIDE = 240  # a line is not cut to the terminal: it may be read by another program
NEWEST = Path()
"""`--resume` without a folder."""
SUCCEEDED, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130


class Refused(Exception):
    """An argument is wrong; the message is for the person who typed it."""


def main(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code. Mistakes of the user become one sentence each on stderr, never a traceback."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
        return code
    except SpecError as error:
        sys.stderr.writelines(f"error: {problem}\n" for problem in error.problems)
    except (EngineError, Refused) as error:
        sys.stderr.write(f"error: {error}\n")
    return REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engine", description="Runs distillations without a server.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="make one run", description="Makes the run that a spec describes.")
    run.add_argument("spec", help="a JSON file with the run's spec, or - for standard input")
    run.add_argument("--workdir", type=Path, help="where the run's files go (default: runs/<method>-<task>-<seed>)")
    run.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="run:<uuid>=FOLDER",
        help="the folder of a model that the spec names; may be repeated",
    )
    run.add_argument(
        "--resume",
        nargs="?",
        type=Path,
        const=NEWEST,
        metavar="CHECKPOINT",
        help="go on from the newest whole checkpoint in the workdir, or from this one (FOLDER/checkpoints/step-N)",
    )
    run.add_argument("--quiet", action="store_true", help="print only how it ended")
    run.set_defaults(command=_run)

    commands.add_parser("methods", help="list the methods").set_defaults(command=_methods)
    commands.add_parser("tasks", help="list the tasks").set_defaults(command=_tasks)

    evidence = commands.add_parser(
        "evidence", help="measure a method's claims", description="Runs a method's evidence and checks its claims."
    )
    evidence.add_argument("method", help="the method's id")
    evidence.add_argument("--seeds", type=int, default=5, help="how many seeds (default: 5)")
    evidence.add_argument("--first-seed", type=int, default=10, help="the first seed (default: 10)")
    evidence.add_argument("--json", action="store_true", help="print the result as JSON")
    evidence.add_argument(
        "--memory", action="store_true", help="measure only the memory of a tiny run; --write then renews that part of a page"
    )
    evidence.add_argument("--write", type=Path, metavar="FILE", help="also write the result as Markdown")
    evidence.set_defaults(command=_evidence)
    return parser


def _run(options: argparse.Namespace) -> int:
    from engine.cli.run import run

    return run(options)


def _methods(options: argparse.Namespace) -> int:
    table = _table("id", "family", "title", "teachers", "paper")
    for card in catalog.methods().values():
        needs = card.teachers
        count = (
            "none"
            if needs is None
            else f"{needs.at_least}"
            if needs.at_most == needs.at_least
            else f"{needs.at_least} to {needs.at_most or 'any'}"
        )
        table.add_row(card.id, card.family, card.title, count, card.paper)
    Console(width=WIDE).print(table)
    return SUCCEEDED


def _tasks(options: argparse.Namespace) -> int:
    table = _table("id", "kind", "title", "training rows", "architectures")
    for card in catalog.tasks().values():
        table.add_row(card.id, card.kind, card.title, f"{card.train_rows}", ", ".join(card.architectures))
    Console(width=WIDE).print(table)
    return SUCCEEDED


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _evidence(options: argparse.Namespace) -> int:
    from engine.cli.evidence import evidence

    return evidence(options)
