"""`python -m engine evidence METHOD`: measures a method's claims, prints what came out, and writes its page."""

import argparse
import sys
import tempfile
from pathlib import Path

from engine import evidence as experiment
from engine.cli import SUCCEEDED, Refused
from engine.evidence_report import Report


def evidence(options: argparse.Namespace) -> int:
    """Exit code 0 whatever the claims say: what is not shown is a result too. Progress goes to stderr, the result to stdout."""
    if options.seeds < 1:
        raise Refused(f"--seeds must be at least 1; got {options.seeds}.")
    if options.first_seed < 0:
        raise Refused(f"--first-seed must be at least 0; got {options.first_seed}.")
    if options.write is not None and not options.write.parent.is_dir():
        raise Refused(f"--write names a file in {options.write.parent}, which is no folder; make it first.")
    found = experiment.load(options.method)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    with tempfile.TemporaryDirectory(prefix="stillhouse-evidence-") as workdir:
        results = experiment.measure(found, seeds, Path(workdir), say=lambda text: print(text, file=sys.stderr))
    report = Report(found, results, command_of(options))
    print(report.to_json() if options.json else report.to_text())
    if options.write is not None:
        options.write.write_text(report.to_markdown(), encoding="utf-8")
    return SUCCEEDED


def command_of(options: argparse.Namespace) -> str:
    """What a reader types, in the project's folder, to repeat the measurement."""
    command = f"python -m engine evidence {options.method} --seeds {options.seeds} --first-seed {options.first_seed}"
    return command if options.write is None else f"{command} --write docs/evidence/{options.write.name}"
