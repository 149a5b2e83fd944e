"""A backup that is made while a run trains, the loss of everything, and the run goes on as if nothing had happened."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings

from tests.faults.undisturbed import Undisturbed
from tests.installations import Installation
from tests.processes import Program
from tests.runs import queued_run
from tests.waiting import wait_for
from webapp.operate.backup.read import check
from webapp.runs.models import Attempt, MetricPoint, Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

SPEC = {"budget": {"steps": 20_000}, "cadence": {"checkpoint": 50, "evaluate": 500}, "threads": 1}
ENDED = (State.SUCCEEDED, State.FAILED, State.STOPPED)


def test_a_run_that_was_training_during_the_backup_ends_with_the_same_weights_after_the_restore(
    environment: dict[str, str], start_worker: Callable[..., Program], tmp_path: Path
) -> None:
    undisturbed = Undisturbed({"method": "supervised", "task": "digits", "device": "cpu"} | SPEC, tmp_path / "undisturbed")
    here = Installation(environment, Path(settings.STORE))
    worker = start_worker(1)
    run = queued_run(**SPEC)
    wait_for(lambda: (Run.objects.get(pk=run.pk).checkpoint_step or 0) > 0, what="a checkpoint")

    here.did("backup", str(tmp_path / "backup"))
    worker.kill()
    MetricPoint.objects.all().delete()
    Run.objects.all().delete()
    shutil.rmtree(here.store / "runs")
    here.did("restore", "--replace", str(tmp_path / "backup"))
    restored = Run.objects.get(pk=run.pk)
    start_worker(1)

    manifest = check(tmp_path / "backup")
    assert manifest.missing == [] and manifest.store_files >= 2
    assert restored.state == State.QUEUED and 0 < (restored.checkpoint_step or 0) < 20_000
    wait_for(lambda: Run.objects.get(pk=run.pk).state in ENDED, seconds=60, what="the run to end")
    run.refresh_from_db()
    undisturbed.check(run)
    assert [(each.number, each.exit) for each in Attempt.objects.filter(run=run)] == [(1, "lost"), (2, "succeeded")]
    assert Attempt.objects.get(run=run, number=2).from_step == restored.checkpoint_step


def test_every_backup_of_a_run_with_a_checkpoint_every_few_milliseconds_can_be_gone_on_from(
    environment: dict[str, str], start_worker: Callable[..., Program], tmp_path: Path
) -> None:
    here = Installation(environment, Path(settings.STORE))
    start_worker(1)
    run = queued_run(budget={"steps": 200_000}, cadence={"checkpoint": 10, "evaluate": 100_000}, threads=1)
    wait_for(lambda: (Run.objects.get(pk=run.pk).checkpoint_step or 0) > 0, what="a checkpoint")

    manifests = []
    for number in range(5):
        here.did("backup", str(tmp_path / f"backup-{number}"))
        manifests.append(check(tmp_path / f"backup-{number}"))

    assert Run.objects.get(pk=run.pk).state == State.RUNNING
    for manifest in manifests:
        kept = {name.rpartition("/")[0] for name in manifest.members if "/kept/step-" in name}
        assert len(kept) == 1 and manifest.missing == []
        assert {name.rpartition("/")[2] for name in manifest.members if "/kept/step-" in name} == {"state.json", "tensors.safetensors"}
