"""What need not be kept is removed after its time, and nothing else is."""

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.utils import timezone

from engine.events import Outcome
from tests.installations import Installation
from tests.runs import new_run, queued_run
from tests.webapp.batches import write_points
from tests.webapp.conftest import RunMaker, token_of
from tests.webapp.operate.conftest import leave_checkpoint, leave_table, put
from webapp.accounts.models import ApiToken, AuditEntry, Membership, Project, User
from webapp.operate import store_lock
from webapp.operate.models import Heard
from webapp.operate.retention import ORPHAN_SECONDS, removals, sweep
from webapp.runs import lifecycle, projects
from webapp.runs.lifecycle import retention as verbs
from webapp.runs.models import Artifact, HistoryLine, LogLine, MetricPoint, Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def swept(**how: Any) -> list[str]:
    return [removal.what for removal in sweep(**how)]


def ended_days_ago(run: Run, days: float) -> None:
    Run.objects.filter(pk=run.pk).update(finished_at=timezone.now() - timedelta(days=days))


def failed(run: Run) -> Run:
    lifecycle.settle(lifecycle.Token(run.pk, run.attempt), Outcome("failed", 10, "The loss is not finite."))
    return Run.objects.get(pk=run.pk)


def age(path: Path, seconds: float) -> None:
    """As if everything there had been written so long ago."""
    for each in (path, *path.rglob("*")):
        os.utime(each, (time.time() - seconds,) * 2)


def test_a_succeeded_run_keeps_its_student_and_loses_its_checkpoints(finished_run: RunMaker, store: Path, days: Any) -> None:
    run = finished_run()
    leave_table(run, store)
    leave_checkpoint(run, store)
    put(store, f"{lifecycle.attempt_folder(run.pk, 1)}/student/model.safetensors")

    removed = swept()

    run.refresh_from_db()
    assert removed == [f"checkpoints of run {run.pk}, which succeeded"]
    assert (run.checkpoint_path, run.checkpoint_step) == ("", None)
    assert sorted(path.name for path in store.rglob("*") if path.is_file()) == ["model.safetensors", "report.json"]
    assert swept() == []


@pytest.mark.parametrize("who", ["run", "project"])
def test_checkpoints_that_are_to_be_kept_are_kept(who: str, finished_run: RunMaker, store: Path, days: Any) -> None:
    run = finished_run()
    kept = leave_checkpoint(run, store)
    (Run if who == "run" else Project).objects.update(keep_checkpoints=True)

    assert swept() == []
    assert kept.is_dir()


def test_a_run_that_has_not_ended_keeps_its_checkpoint(running_run: RunMaker, store: Path, days: Any) -> None:
    held = running_run()
    kept = leave_checkpoint(held, store)
    Run.objects.update(started_at=timezone.now() - timedelta(days=999))

    assert swept() == []
    assert kept.is_dir()


def test_a_failed_run_can_be_resumed_for_some_days_and_then_only_from_the_start(running_run: RunMaker, store: Path, days: Any) -> None:
    run = running_run()
    kept = leave_checkpoint(run, store)
    run = failed(run)
    ended_days_ago(run, 9.9)
    before = swept()
    ended_days_ago(run, 10.1)

    removed = swept()

    assert before == [] and removed == [f"checkpoints of run {run.pk}, which failed more than 10 days ago"]
    assert not kept.exists()
    assert HistoryLine.objects.last().reason == "Its checkpoints were deleted; it can be run again from the start."  # type: ignore[union-attr]
    assert lifecycle.requeue(run, "otto").reason == "Again from the start; there is no checkpoint."


def test_a_run_that_was_resumed_meanwhile_keeps_its_checkpoint(running_run: RunMaker, store: Path, days: Any) -> None:
    run = running_run()
    kept = leave_checkpoint(run, store)
    run = failed(run)
    ended_days_ago(run, 11)
    found = next(removals())

    lifecycle.requeue(run, "otto")

    assert found.do() is False
    assert kept.is_dir() and Run.objects.get().checkpoint_step == 10


def test_a_checkpoint_with_which_another_run_begins_stays_as_long_as_that_run_needs_it(
    finished_run: RunMaker, project: Project, store: Path, days: Any
) -> None:
    run, other = finished_run(), queued_run(project)
    kept = leave_checkpoint(run, store)
    Run.objects.filter(pk=other.pk).update(checkpoint_path=kept.relative_to(store).as_posix(), checkpoint_step=10)
    while_needed = swept()
    lifecycle.trash(run, "otto")
    Run.objects.filter(pk=run.pk).update(deleted_at=timezone.now() - timedelta(days=8))
    in_the_trash = swept()
    refused = (lifecycle.forget_checkpoint(run.pk, "no"), lifecycle.delete_for_good(run.pk))

    Run.objects.filter(pk=other.pk).update(checkpoint_path="", checkpoint_step=None)

    assert while_needed == in_the_trash == [] and refused == (None, False)
    assert len(swept()) == 2 and list(Run.objects.all()) == [other]


def test_the_trash_is_emptied_after_its_time_with_points_and_files(
    project: Project, finished_run: RunMaker, store: Path, days: Any
) -> None:
    gone, kept, fresh = finished_run(name="gone"), finished_run(name="kept"), finished_run(name="fresh")
    for run in (gone, kept, fresh):
        write_points(run, (1, 0.5), (2, 0.25))
        leave_table(run, store)
        LogLine.objects.create(run=run, attempt=1, level="info", text="hello")
    lifecycle.trash(gone, "otto")
    lifecycle.trash(fresh, "otto")
    Run.objects.filter(pk=gone.pk).update(deleted_at=timezone.now() - timedelta(days=8))

    removed = swept()

    assert removed == [f"run {gone.pk} (gone), for good: it was in the trash for more than 7 days"]
    assert set(Run.objects.all()) == {kept, fresh}
    assert set(MetricPoint.objects.values_list("series__run", flat=True)) == {kept.pk, fresh.pk} and MetricPoint.objects.count() == 4
    assert sorted(path.name for path in (store / "runs").iterdir()) == sorted(str(run.pk) for run in (kept, fresh))


def test_many_points_go_in_several_statements(finished_run: RunMaker, store: Path, days: Any) -> None:
    run = finished_run()
    write_points(run, *((step, 0.5) for step in range(1, 1001)))
    lifecycle.trash(run, "otto")
    Run.objects.update(deleted_at=timezone.now() - timedelta(days=8))
    series = list(run.series.values_list("pk", flat=True))

    counts = [verbs.delete_points(series, at_most=300) for _ in range(5)]

    assert counts == [300, 300, 300, 100, 0] and not MetricPoint.objects.exists()
    assert len(swept()) == 1 and not Run.objects.exists()


def test_a_teacher_in_the_trash_waits_for_its_students(project: Project, finished_run: RunMaker, store: Path, days: Any) -> None:
    teacher, student = finished_run(), queued_run(project)
    student.teachers.add(teacher.model)
    lifecycle.trash(teacher, "otto")
    Run.objects.filter(pk=teacher.pk).update(deleted_at=timezone.now() - timedelta(days=8))
    while_needed = swept()

    lifecycle.request_stop(student, "otto")

    assert while_needed == [] and len(swept()) == 1
    assert list(Run.objects.all()) == [student]


def test_a_deleted_project_goes_for_good_and_its_audit_trail_stays(
    project: Project, owner: User, finished_run: RunMaker, running_run: RunMaker, store: Path, days: Any
) -> None:
    finished, held = finished_run(), running_run()
    leave_table(finished, store)
    token_of(owner, project)
    projects.trash(owner, project.slug, "Distillery")
    Project.objects.update(deleted_at=timezone.now() - timedelta(days=8))
    while_held = swept()
    lifecycle.settle(lifecycle.Token(held.pk, 1), Outcome("stopped", 5, "Stopped as asked."))

    rest = swept()

    assert [what.partition(",")[0] for what in while_held] == [f"run {finished.pk} (finished)"]
    assert rest[-1] == "project distillery (Distillery), for good"
    assert not Run.objects.exists() and not ApiToken.objects.exists() and not Membership.objects.filter(project=project).exists()
    assert list((store / "runs").iterdir()) == []
    assert AuditEntry.objects.filter(project=project, verb="deleted project").exists()
    assert Project.objects.create(slug="distillery", name="Another").pk != project.pk


def test_a_project_in_the_trash_stays_until_its_time(project: Project, owner: User, finished_run: RunMaker, store: Path, days: Any) -> None:
    run = finished_run()
    projects.trash(owner, project.slug, "Distillery")
    Project.objects.update(deleted_at=timezone.now() - timedelta(days=6.9))

    assert swept() == [] and Run.objects.filter(pk=run.pk).exists()


def test_the_log_of_a_run_goes_long_after_its_end(finished_run: RunMaker, running_run: RunMaker, store: Path, days: Any) -> None:
    old, young, held = finished_run(), finished_run(), running_run()
    for run in (old, young, held):
        LogLine.objects.create(run=run, attempt=1, level="info", text="hello")
        put(store, f"{lifecycle.attempt_folder(run.pk, 1)}/output.log")
    ended_days_ago(old, 101)
    ended_days_ago(young, 99)

    removed = swept()

    assert removed == [f"log of run {old.pk}, which ended more than 100 days ago"]
    assert set(LogLine.objects.values_list("run", flat=True)) == {young.pk, held.pk}
    assert len(list(store.rglob("output.log"))) == 2


def test_what_no_row_names_goes_after_a_day(finished_run: RunMaker, store: Path, days: Any) -> None:
    run = finished_run()
    leave_table(run, store)
    folder = lifecycle.attempt_folder(run.pk, 1)
    put(store, f"{folder}/tables/forgotten.json")
    put(store, f"{folder}/output.log")
    put(store, f"runs/{uuid4()}/attempt-1/tables/x.json")
    put(store, ".backup-12-34/runs/x")
    put(store, "buffers/experts")
    put(store, "thesis/chapter-1.txt")
    age(store, ORPHAN_SECONDS + 60)
    put(store, f"runs/{uuid4()}/attempt-1/tables/fresh.json")

    removed = swept()

    assert len(removed) == 3 and all(what.endswith(", which no row names") for what in removed)
    left = sorted(path.name for path in store.rglob("*") if path.is_file())
    assert left == ["chapter-1.txt", "experts", "fresh.json", "output.log", "report.json"]


def test_what_a_dry_run_names_is_what_a_real_one_removes(finished_run: RunMaker, store: Path, days: Any) -> None:
    run = finished_run()
    kept = leave_checkpoint(run, store)

    named = [(removal.what, removal.bytes) for removal in sweep(dry_run=True)]

    assert kept.is_dir() and Run.objects.get().checkpoint_step == 10
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    assert named == [(removal.what, removal.bytes) for removal in sweep()] == [(f"checkpoints of run {run.pk}, which succeeded", size)]


def test_it_is_heard_of(project: Project, store: Path, days: Any) -> None:
    swept(dry_run=True)
    before = Heard.objects.count()

    swept()

    assert before == 0 and Heard.objects.get().detail == "0 things removed."


def test_after_its_seconds_it_ends_and_goes_on_with_the_next_look(finished_run: RunMaker, store: Path, days: Any) -> None:
    leave_checkpoint(finished_run(), store)

    assert swept(seconds=-1) == []
    assert len(swept()) == 1


def test_nothing_is_removed_while_a_backup_is_made(finished_run: RunMaker, store: Path, days: Any, process_environment: Any) -> None:
    leave_checkpoint(finished_run(), store)

    with psycopg.connect(process_environment["DATABASE_URL"]) as backup:
        backup.execute("SELECT pg_advisory_lock_shared(%s)", [store_lock.KEY])
        during = swept()
        backup.execute("SELECT pg_advisory_unlock_shared(%s)", [store_lock.KEY])

    assert during == [] and len(swept()) == 1


def test_two_sweeps_never_remove_at_the_same_time(finished_run: RunMaker, store: Path, days: Any, process_environment: Any) -> None:
    leave_checkpoint(finished_run(), store)

    with psycopg.connect(process_environment["DATABASE_URL"]) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [store_lock.KEY])
        during = swept()
        other.execute("SELECT pg_advisory_unlock(%s)", [store_lock.KEY])

    assert during == [] and len(swept()) == 1


@pytest.mark.django_db(transaction=True)
def test_the_command_says_what_it_would_remove_and_then_does(here: Installation, finished_run: RunMaker, store: Path) -> None:
    run = finished_run()
    leave_checkpoint(run, store)

    dry = here.did("retain", "--dry-run").splitlines()
    real = here.did("retain").splitlines()

    assert dry[0] == real[0] and dry[0].endswith(f"  checkpoints of run {run.pk}, which succeeded")
    assert (dry[1].partition(" ")[0], real[1].partition(",")[0]) == ("Would", "Removed 1 thing")
    assert Run.objects.get().checkpoint_path == ""


def test_a_draft_is_not_an_ended_run(project: Project, store: Path, days: Any) -> None:
    run = new_run(project)
    Run.objects.update(deleted_at=timezone.now() - timedelta(days=8))

    assert swept() == [] and Run.objects.get().state == State.DRAFT
    assert verbs.delete_for_good(run.pk) is False and not Artifact.objects.exists()
