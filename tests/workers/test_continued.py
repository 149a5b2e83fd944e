"""A continued run on a real worker: the further steps, with the checkpoint of another run."""

from typing import Any

import pytest

from tests import processes
from tests.runs import history_of, queued_run
from tests.waiting import wait_for
from webapp.accounts.models import Membership, Role, User
from webapp.launching.continuing import go_on
from webapp.runs import lifecycle
from webapp.runs.models import ENDED, Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]


LONG: dict[str, Any] = {"cadence": {"checkpoint": 200, "log": 50, "evaluate": 10_000_000}, "threads": 1}


def test_a_run_that_was_stopped_is_continued_with_more_steps_by_a_worker(process_environment: dict[str, str]) -> None:
    run = queued_run(**LONG, budget={"steps": 200_000})
    person = User.objects.create_user("olga")
    Membership.objects.create(user=person, project=run.project, role=Role.OPERATOR)
    with processes.worker(process_environment, slots=1):
        first = stopped_after(run, 200, person)

        made = go_on(first, person, {"budget": {"steps": 200_001}})
        second = stopped_after(made, (first.checkpoint_step or 0) + 200, person)

    steps = history_of(made.pk)["loss"][0]
    assert (first.state, second.state) == (State.STOPPED, State.STOPPED), second.reason
    assert made.began_after == first.checkpoint_step == first.step
    assert steps[0] > first.step and second.step >= first.step + 200
    assert history_of(run.pk)["loss"][0][-1] <= first.step  # the run that was continued stays as it was
    said = f"Goes on after step {first.step} with a budget of 200,001 steps; it was 200,000 steps. "
    assert any(line.text.startswith(said) for line in made.log_lines.all())


def stopped_after(run: Run, step: int, person: User) -> Run:
    """The run, stopped when it had a checkpoint of its own at that step or later."""
    wait_for(lambda: (Run.objects.get(pk=run.pk).checkpoint_step or 0) >= step, seconds=90, what=f"a checkpoint at step {step}")
    lifecycle.request_stop(run, person)
    wait_for(lambda: Run.objects.get(pk=run.pk).state in ENDED, seconds=90, what="the run to end")
    return Run.objects.get(pk=run.pk)
