"""A worker beside a database of another version."""

import pytest

from tests import processes
from tests.runs import queued_run
from tests.versions import NEWER, heal, newer_database
from tests.waiting import wait_for
from webapp.runs import doorbell
from webapp.runs.models import ENDED, Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]


def test_it_claims_nothing_and_says_why_until_the_database_is_of_its_version(process_environment: dict[str, str]) -> None:
    run = queued_run(budget={"steps": 1})
    with newer_database(), processes.worker(process_environment | {"STILLHOUSE_LOG_LEVEL": "DEBUG"}, slots=1) as worker:
        wait_for(lambda: "ready." in worker.output or not worker.is_running(), seconds=90, what="the worker to listen")
        for _ in range(3):
            doorbell.ring("cpu")
        wait_for(lambda: worker.output.count("succeeded in") >= 3, what="three rings to be heard")
        while_newer = (Run.objects.get(pk=run.pk).state, worker.output.count(NEWER))

        heal()
        wait_for(lambda: doorbell.ring("cpu") or Run.objects.get(pk=run.pk).state in ENDED, every=1, what="the run to end")

    assert while_newer == (State.QUEUED, 1)
    assert Run.objects.get(pk=run.pk).state == State.SUCCEEDED
