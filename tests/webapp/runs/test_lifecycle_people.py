"""What people do to a run: whole sentences, who is remembered, and what asking twice does."""

from collections.abc import Callable

import pytest

from engine.events import Outcome
from tests.runs import claim, new_run, queued_run, running_claim
from webapp.accounts.models import User
from webapp.runs import lifecycle
from webapp.runs.lifecycle import NotAllowed
from webapp.runs.models import HistoryLine, Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def refusal(deed: Callable[[], object]) -> str:
    with pytest.raises(NotAllowed) as refused:
        deed()
    return str(refused.value)


def lines_of(run: Run) -> list[tuple[str, str, str, str]]:
    return list(HistoryLine.objects.filter(run=run).values_list("who", "before", "after", "reason"))


def test_each_state_refuses_what_does_not_fit_it_with_a_sentence_of_its_own() -> None:
    draft, queued = new_run(), queued_run()
    said = {
        "resume a draft": refusal(lambda: lifecycle.requeue(draft, "ann")),
        "submit twice": refusal(lambda: lifecycle.submit(queued, who="ann")),
        "retry what waits": refusal(lambda: lifecycle.requeue(queued, "ann", from_scratch=True)),
        "restore what is not deleted": refusal(lambda: lifecycle.restore(queued, "ann")),
    }
    held = claim()
    assert held is not None
    said["delete a start"] = refusal(lambda: lifecycle.trash(queued, "ann"))
    said["resume a start"] = refusal(lambda: lifecycle.requeue(queued, "ann"))
    lifecycle.settle(held.token, Outcome("failed", 0, "It failed."))
    said["stop a failure"] = refusal(lambda: lifecycle.request_stop(queued, "ann"))
    said["submit a failure"] = refusal(lambda: lifecycle.submit(queued, who="ann"))
    lifecycle.request_stop(draft, "ann")
    said["stop twice"] = refusal(lambda: lifecycle.request_stop(draft, "ann"))
    lifecycle.trash(draft, "ann")
    said["resume from the trash"] = refusal(lambda: lifecycle.requeue(draft, "ann"))

    assert said == {
        "resume a draft": "The run is a draft, so it can't be resumed.",
        "submit twice": "The run is queued, so it can't be submitted.",
        "retry what waits": "The run is queued, so it can't be retried.",
        "restore what is not deleted": "The run is not in the trash.",
        "delete a start": "The run is starting; stop it before deleting it.",
        "resume a start": "The run is starting, so it can't be resumed.",
        "stop a failure": "The run has already failed, so it can't be stopped.",
        "submit a failure": "The run has already failed, so it can't be submitted.",
        "stop twice": "The run is already stopped, so it can't be stopped.",
        "resume from the trash": "The run is in the trash; restore it first.",
    }


def test_who_asked_first_for_a_stop_is_remembered() -> None:
    ann, bob = (User.objects.create(username=name) for name in ("ann", "bob"))
    held = running_claim()
    first = lifecycle.request_stop(Run.objects.get(), ann)

    second = lifecycle.request_stop(Run.objects.get(), bob)

    assert (second.stop_requested_by, second.stop_requested_at) == (ann, first.stop_requested_at)
    assert [line.reason for line in HistoryLine.objects.filter(run_id=held.run_id)][-1] == "Runs on CPU, 1 thread."


def test_a_run_that_goes_on_has_forgotten_that_it_was_to_stop() -> None:
    ann = User.objects.create(username="ann")
    held = running_claim()
    lifecycle.request_stop(Run.objects.get(), ann)
    lifecycle.settle(held.token, Outcome("stopped", 7, "Stopped as asked after step 7."))

    resumed = lifecycle.requeue(Run.objects.get(), ann)

    assert (resumed.state, resumed.stop_requested_at, resumed.stop_requested_by, resumed.finished_at) == (State.QUEUED, None, None, None)
    assert resumed.reason == "Again from the start; there is no checkpoint."
    again = claim()
    assert again is not None and not lifecycle.renew(again.token).stop


def test_deleting_and_restoring_leave_one_line_each_and_a_waiting_run_stays_stopped() -> None:
    ann, run = User.objects.create(username="ann"), queued_run()
    lifecycle.trash(run, ann), lifecycle.trash(run, ann)

    restored = lifecycle.restore(run, ann)

    assert (restored.state, restored.deleted_at) == (State.STOPPED, None)
    assert lines_of(run)[1:] == [
        ("ann", "queued", "stopped", "Deleted before it started."),
        ("ann", "stopped", "stopped", "Moved to the trash."),
        ("ann", "stopped", "stopped", "Taken out of the trash."),
    ]


def test_a_run_that_has_ended_keeps_its_state_and_its_reason_in_the_trash() -> None:
    held = running_claim()
    lifecycle.settle(held.token, Outcome("failed", 3, "loss became nan at step 3."))

    trashed = lifecycle.trash(Run.objects.get(), "ann")

    assert (trashed.state, trashed.reason) == (State.FAILED, "loss became nan at step 3.")


def test_a_priority_is_noted_where_it_changes() -> None:
    run = queued_run(priority=5)

    for priority in (5, -100, -100, 100):
        run = lifecycle.set_priority(run, "ann", priority)

    assert run.priority == 100
    assert lines_of(run)[1:] == [("ann", "queued", "queued", "Priority 5 → -100."), ("ann", "queued", "queued", "Priority -100 → 100.")]


def test_a_retry_forgets_the_checkpoint_and_a_resumption_goes_to_the_end_of_the_queue() -> None:
    first = queued_run(name="first")
    lifecycle.request_stop(first, "ann")
    Run.objects.filter(pk=first.pk).update(checkpoint_step=10, checkpoint_path="somewhere")
    second = queued_run(name="second")

    lifecycle.requeue(first, "ann")
    order = [claim(f"worker-{number}") for number in range(2)]

    assert [held and (held.run_id, held.from_step, held.resume_path) for held in order] == [
        (second.pk, 0, None),
        (first.pk, 10, "somewhere"),
    ]
