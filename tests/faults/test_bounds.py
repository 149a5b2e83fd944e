"""The memory and the time that a run may have, with a real worker and real children."""

from typing import Any

import pytest

from tests.faults.conftest import StartWith
from tests.runs import queued_run
from tests.waiting import wait_for
from webapp.runs import lifecycle
from webapp.runs.models import ENDED, Attempt, Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

LONG: dict[str, Any] = {"budget": {"steps": 2_000_000}, "cadence": {"checkpoint": 200, "evaluate": 1_000_000}, "threads": 1}


def wide(width: int, layers: int) -> dict[str, Any]:
    return {"student": {"name": "mlp-16", "config": {"hidden": [width] * layers}}, "threads": 1}


def ended(run: Run) -> Run:
    wait_for(lambda: Run.objects.get(pk=run.pk).state in ENDED, seconds=90, what="the run to end")
    return Run.objects.get(pk=run.pk)


def test_a_run_stops_when_its_time_is_up_and_goes_on_when_a_person_says_so(start_with: StartWith) -> None:
    start_with()
    run = queued_run(seconds_limit=4, **LONG)

    stopped = ended(run)
    lifecycle.requeue(stopped, "ann")
    again = ended(run)

    assert stopped.state == again.state == State.STOPPED
    assert stopped.reason == f"Its time limit of 4 s was over at step {stopped.step}; resume it, and it has as long again."
    assert 0 < stopped.step == stopped.checkpoint_step < again.step
    assert Attempt.objects.filter(run=run).count() == 2


def test_a_run_that_can_not_fit_is_refused_and_the_worker_takes_the_next(start_with: StartWith) -> None:
    start_with(STILLHOUSE_RUN_MEMORY="1e9")
    huge, small = queued_run(name="huge", **wide(60_000, 2)), queued_run(name="small", budget={"steps": 20}, threads=1)

    refused = ended(huge)

    assert refused.state == State.FAILED
    assert refused.reason.startswith("The run needs at least 28.9 GB of memory and may have 1.0 GB here")
    assert ended(small).state == State.SUCCEEDED
    assert Attempt.objects.filter(run=huge).count() == 1


def test_a_run_that_takes_more_than_it_may_is_ended_and_says_so(start_with: StartWith) -> None:
    """Its weights and gradients would fit; with the moments of its optimizer they do not."""
    start_with(STILLHOUSE_RUN_MEMORY="300e6")
    greedy = queued_run(name="greedy", budget={"steps": 2000}, **wide(3900, 3))

    found = ended(greedy)

    assert found.state == State.FAILED
    assert "of memory and may have 300.0 MB here; try a smaller batch_size or model" in found.reason
    assert Attempt.objects.filter(run=greedy).count() == 1
