"""Beat has a worker remove what need not be kept: nobody has to think of it."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone

from tests import processes
from tests.faults.conftest import Start
from tests.processes import Program
from tests.runs import queued_run
from tests.waiting import wait_for
from webapp.operate.models import Heard
from webapp.runs import lifecycle
from webapp.runs.models import MetricPoint, Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]


def test_a_trained_run_soon_keeps_its_student_alone_and_a_deleted_one_goes_with_its_files(
    environment: dict[str, str], start: Start, start_worker: Callable[..., Program]
) -> None:
    worker = start_worker(1)
    kept, deleted = [queued_run(name=name, budget={"steps": 60}, cadence={"checkpoint": 20}, threads=1) for name in ("kept", "deleted")]
    wait_for(lambda: Run.objects.filter(state=State.SUCCEEDED).count() == 2, seconds=60, what="both to finish")
    folder, gone = (Path(settings.STORE) / "runs" / str(run.pk) for run in (kept, deleted))
    with_checkpoints = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    lifecycle.trash(deleted, "otto")
    Run.objects.filter(pk=deleted.pk).update(deleted_at=timezone.now() - timedelta(days=settings.TRASH_DAYS + 1))

    start(processes.beat({**environment, "STILLHOUSE_RETAIN_SECONDS": "0.5"}))

    wait_for(lambda: Run.objects.get(pk=kept.pk).checkpoint_path == "", seconds=30, what="the checkpoints to go")
    wait_for(lambda: not gone.exists(), seconds=30, what="the deleted run's files to go")
    left = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert left == ["attempt-1/output.log", "attempt-1/student/model.json", "attempt-1/student/model.safetensors"]
    assert sum((folder / name).stat().st_size for name in left) < with_checkpoints / 2
    assert set(MetricPoint.objects.values_list("series__run", flat=True)) == {kept.pk}
    wait_for(lambda: set(Heard.objects.values_list("name", flat=True)) == {"retention", "watchdog"}, what="both jobs to be heard of")
    assert f"Removed run {deleted.pk} (deleted), for good" in worker.output
