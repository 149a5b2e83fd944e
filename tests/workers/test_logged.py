"""What a real worker logs: about the run that it is busy with, and nothing for each ring."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import processes
from tests.runs import queued_run
from tests.waiting import wait_for
from webapp.runs import doorbell
from webapp.runs.models import Attempt, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]


def lines_of(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_its_lines_have_run_and_attempt_as_fields_and_none_is_for_a_ring(process_environment: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    environment = process_environment | {"STILLHOUSE_LOG_FORMAT": "json", "STILLHOUSE_LOG_FILE": str(log)}
    run = queued_run()
    Run.objects.filter(pk=run.pk).update(checkpoint_step=5, checkpoint_path=f"runs/{run.pk}/nowhere")

    with processes.worker(environment, slots=1):
        wait_for(lambda: any("ready." in line["message"] for line in lines_of(log)), seconds=90, what="the worker to listen")
        for _ in range(20):
            doorbell.ring("cpu")
        wait_for(lambda: Attempt.objects.filter(run=run, exit="returned").exists(), seconds=60, what="the run to be given back")

    lines = lines_of(log)
    assert [(line["run"], line["attempt"]) for line in lines if "is given back" in line["message"]] == [(str(run.pk), 1)]
    assert not [line for line in lines if "stillhouse.doorbell" in line["message"]]
    assert len(lines) < 20
