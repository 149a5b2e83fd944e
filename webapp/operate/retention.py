"""What need not be kept any longer, and its removal. Beat has a worker do it every few minutes, `manage.py retain` does it now.

Each thing is a short transaction of its own, then its files go, then it is told. Rows go before files: whoever is killed in between leaves
files that no row names, and those go with the next look a day later. Nothing is removed while a backup is made.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from webapp.accounts.models import ApiToken, Membership, Project
from webapp.accounts.trash import time_is_up
from webapp.catalog.models import ModelRecord
from webapp.operate import inventory
from webapp.operate.models import note
from webapp.operate.store_lock import may_remove
from webapp.runs import lifecycle
from webapp.runs.models import ENDED, IdempotencyKey, LogLine, Run, State
from webapp.runs.projects import stop_runs_of
from webapp.store import path_in_store, run_folder

logger = logging.getLogger(__name__)
HEARD = "retention"
AT_ONCE = 200
"""Things of one kind that one look finds at most."""

ORPHAN_SECONDS = 24 * 3600.0
"""A file that no row names is left alone for a day: it may be about to be named."""


@dataclass(frozen=True)
class Removal:
    """One thing that goes: what it is, in words, how many bytes of files, and how it goes. That may say, by False, that it stays after all."""

    what: str
    bytes: int
    do: Callable[[], bool]


def sweep(*, dry_run: bool = False, seconds: float = float("inf")) -> Iterator[Removal]:
    """Removes what need not be kept, for so many seconds, and yields each thing when it is gone; with `dry_run` each thing that would go.

    Yields nothing while a backup is made, or another process sweeps.
    """
    deadline = time.monotonic() + seconds
    with may_remove() as mine:
        if not mine:
            logger.info("Nothing is removed now: a backup is made, or another process removes.")
            return
        removed = 0
        for removal in removals():
            if time.monotonic() > deadline:
                break
            if dry_run or removal.do():
                removed += 1
                logger.info("%s %s (%s bytes)", "Would remove" if dry_run else "Removed", removal.what, f"{removal.bytes:,}")
                yield removal
        if not dry_run:
            note(HEARD, f"{removed} things removed.")


def removals() -> Iterator[Removal]:
    """What may go, what frees most first."""
    yield from _checkpoints()
    yield from _trashed_runs()
    yield from _trashed_projects()
    yield from _log_lines()
    yield from _orphans()


def _checkpoints() -> Iterator[Removal]:
    kept = Q(keep_checkpoints=True) | Q(project__keep_checkpoints=True)
    may_go = Run.objects.exclude(checkpoint_path="").exclude(pk__in=lifecycle.begins_another().values("pk"))
    succeeded = may_go.filter(~kept, state=State.SUCCEEDED)
    for run in succeeded.order_by("finished_at")[:AT_ONCE]:
        yield _checkpoint_removal(run, f"checkpoints of run {run.pk}, which succeeded")
    days = settings.CHECKPOINT_DAYS
    others = may_go.filter(state__in=[State.FAILED, State.STOPPED], finished_at__lt=_days_ago(days))
    for run in others.exclude(keep_checkpoints=True).order_by("finished_at")[:AT_ONCE]:
        yield _checkpoint_removal(run, f"checkpoints of run {run.pk}, which {run.state} more than {days:g} days ago")


def _checkpoint_removal(run: Run, what: str) -> Removal:
    folders = _checkpoint_folders(run.pk, run.attempt)

    def do() -> bool:
        attempt = lifecycle.forget_checkpoint(run.pk, "Its checkpoints were deleted; it can be run again from the start.")
        if attempt is None:
            return False
        _delete(_checkpoint_folders(run.pk, attempt))
        return True

    return Removal(what, _size(folders), do)


def _checkpoint_folders(run_id: UUID, last_attempt: int) -> list[Path]:
    """Of its attempts so far: a later one may be writing already."""
    attempts = [path_in_store(lifecycle.attempt_folder(run_id, number)) for number in range(1, last_attempt + 1)]
    return [folder / name for folder in attempts for name in inventory.CHECKPOINT_FOLDERS if (folder / name).is_dir()]


def _trashed_runs() -> Iterator[Removal]:
    """Not those whose student a run that has not ended learns from, nor those with whose checkpoint another run begins."""
    needed = ModelRecord.objects.filter(run=OuterRef("pk"), taught_runs__state__in=[state for state in State if state not in ENDED])
    over = Run.objects.filter(lifecycle.time_is_over(), state__in=ENDED).exclude(Exists(needed))
    over = over.exclude(pk__in=lifecycle.begins_another().values("pk"))
    for run in over.order_by("pk")[:AT_ONCE]:
        folder = path_in_store(run_folder(run.pk))

        def do(run_id: UUID = run.pk, folder: Path = folder) -> bool:
            gone = lifecycle.delete_for_good(run_id)
            if gone:
                _delete([folder])
            return gone

        yield Removal(
            f"run {run.pk} ({run.name}), for good: it was in the trash for more than {settings.TRASH_DAYS:g} days", _size([folder]), do
        )


def _trashed_projects() -> Iterator[Removal]:
    """A project whose runs have all gone. Its row stays without its slug, because the audit trail names it."""
    over = Project.objects.filter(deleted_at__lt=time_is_up(), gone_at=None).order_by("pk")
    for project in over[:AT_ONCE]:
        if Run.objects.filter(project=project).exists():
            stop_runs_of(project, lifecycle.RETENTION)  # one that came in while the project was being deleted
            continue
        yield Removal(f"project {project.slug} ({project.name}), for good", 0, lambda project=project: _end(project))  # type: ignore[misc]


@transaction.atomic
def _end(project: Project) -> bool:
    if not Project.objects.filter(pk=project.pk, deleted_at__lt=time_is_up()).update(
        gone_at=Now(), slug=f"gone-{project.pk}", description=""
    ):
        return False
    for model in (ModelRecord, IdempotencyKey, ApiToken, Membership):
        model._default_manager.filter(project=project).delete()
    return True


def _log_lines() -> Iterator[Removal]:
    days = settings.LOG_DAYS
    old = Run.objects.filter(Exists(LogLine.objects.filter(run=OuterRef("pk"))), state__in=ENDED, finished_at__lt=_days_ago(days))
    for run in old.order_by("pk")[:AT_ONCE]:
        outputs = [path_in_store(lifecycle.attempt_folder(run.pk, number)) / inventory.OWN_OUTPUT for number in range(1, run.attempt + 1)]

        def do(run_id: UUID = run.pk, outputs: list[Path] = outputs) -> bool:
            gone = lifecycle.delete_lines(run_id)
            for path in outputs if gone else ():
                path.unlink(missing_ok=True)
            return gone

        yield Removal(f"log of run {run.pk}, which ended more than {days:g} days ago", _size(outputs), do)


def _orphans() -> Iterator[Removal]:
    before = time.time() - ORPHAN_SECONDS
    for found in inventory.unnamed():
        if found.changed_at < before:
            relative = found.path.relative_to(settings.STORE)
            yield Removal(f"{relative}, which no row names", found.bytes, lambda path=found.path: _delete([path]))  # type: ignore[misc]


def _delete(paths: list[Path]) -> bool:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return True


def _size(paths: list[Path]) -> int:
    """Bytes on the disk: a file with two names counts once."""
    files = {(about.st_dev, about.st_ino): about.st_size for path in paths for about in _files_below(path)}
    return sum(files.values())


def _files_below(path: Path) -> Iterator["os.stat_result"]:
    for each in (path, *path.rglob("*")):
        if each.is_file() and not each.is_symlink():
            yield each.lstat()


def _days_ago(days: float) -> object:
    return Now() - timedelta(days=days)
