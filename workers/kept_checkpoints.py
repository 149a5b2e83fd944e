"""Checkpoints that the database knows are kept out of the child's reach.

A child keeps its newest two and deletes the others, knowing nothing of what was registered. When its supervisor lags behind, because
the database is away or the worker sleeps, the registered one would be gone just when it is needed. So, before a checkpoint is registered, its files
are linked into `attempt-<n>/kept/`, which costs no space, and only the supervisor deletes there.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from webapp.store import link_checkpoint

KEPT = "kept"


def keep(checkpoint: Path, attempt_folder: Path) -> Path | None:
    """Links a checkpoint's folder into the attempt's kept ones, durably, and returns the new folder; None when the child has deleted it already."""
    kept = attempt_folder / KEPT / checkpoint.name
    if kept.exists():
        return kept
    unfinished = kept.with_name(f".{checkpoint.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    kept.parent.mkdir(exist_ok=True)
    try:
        link_checkpoint(checkpoint, unfinished)
    except FileNotFoundError:
        return None
    unfinished.rename(kept)
    for folder in (kept, kept.parent, attempt_folder):
        _sync(folder)
    return kept


def forget_all_but(kept: Path) -> None:
    """Deletes the run's other kept checkpoints, and all checkpoints of its earlier attempts. Called when `kept` is registered for good."""
    attempt = kept.parent.parent
    for folder in attempt.parent.glob(f"attempt-*/{KEPT}/*"):
        if folder != kept:
            shutil.rmtree(folder, ignore_errors=True)
    for folder in attempt.parent.glob("attempt-*/checkpoints"):
        if folder.parent != attempt:
            shutil.rmtree(folder, ignore_errors=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems refuse it
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
