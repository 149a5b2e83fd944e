"""`python -m engine evidence METHOD`: measures a method's claims and its memory, prints what came out, and writes its page."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from engine.cli.main import SUCCEEDED, Refused
from engine.evidence import experiment
from engine.evidence.memory import measure_memory, with_section
from engine.evidence.report import Report, title_of
from engine.spec import catalog


def evidence(options: argparse.Namespace) -> int:
    """Exit code 0 whatever the claims say: what is not shown is a result too. Progress goes to stderr, the result to stdout."""
    if options.seeds < 1:
        raise Refused(f"--seeds must be at least 1; got {options.seeds}.")
    if options.first_seed < 0:
        raise Refused(f"--first-seed must be at least 0; got {options.first_seed}.")
    if options.write is not None and not options.write.parent.is_dir():
        raise Refused(f"--write names a file in {options.write.parent}, which is no folder; make it first.")
    found = experiment.load(options.method)
    with tempfile.TemporaryDirectory(prefix="stillhouse-evidence-") as folder:
        return _memory(options, Path(folder)) if options.memory else _all(options, found, Path(folder))


def _all(options: argparse.Namespace, found: experiment.Evidence, folder: Path) -> int:
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    results = experiment.measure(found, seeds, folder, say=lambda text: print(text, file=sys.stderr))
    report, memory = Report(found, results, command_of(options)), measure_memory(options.method, folder / "memory")
    if options.json:
        print(json.dumps(report.to_dict() | {"memory": memory.to_dict()}, indent=1, ensure_ascii=False))
    else:
        print(f"{report.to_text()}\n\n{memory.to_table()}")
    if options.write is not None:
        options.write.write_text(with_section(report.to_markdown(), memory.to_markdown()), encoding="utf-8")
    return SUCCEEDED


def _memory(options: argparse.Namespace, folder: Path) -> int:
    """The memory alone, and its section in a page that was written before."""
    page = "" if options.write is None else _page_of(options.method, options.write)
    memory = measure_memory(options.method, folder)
    print(json.dumps({"memory": memory.to_dict()}, indent=1) if options.json else memory.to_table())
    if options.write is not None:
        options.write.write_text(with_section(page, memory.to_markdown()), encoding="utf-8")
    return SUCCEEDED


def _page_of(method_id: str, path: Path) -> str:
    """The method's page of evidence, to be renewed in part."""
    if not path.is_file():
        raise Refused(f"--memory renews a part of a page, and there is no {path}; write the page first, without --memory.")
    page = path.read_text(encoding="utf-8")
    title = title_of(catalog.methods()[method_id])
    if not page.startswith(f"{title}\n"):
        raise Refused(f"--write names {path}, which does not begin with {title!r}: it is not the page of {method_id}.")
    return page


def command_of(options: argparse.Namespace) -> str:
    """What a reader types, in the project's folder, to repeat the measurement."""
    command = f"python -m engine evidence {options.method} --seeds {options.seeds} --first-seed {options.first_seed}"
    return command if options.write is None else f"{command} --write docs/evidence/{options.write.name}"
