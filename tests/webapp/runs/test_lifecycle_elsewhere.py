"""Which worker may have a run again: what was failed before its first step, or given back, goes to another, and comes to an end somewhere."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db.models.functions import Now

from engine.events import Outcome
from tests.runs import queued_run
from tests.webapp.fleet.workers import gpus, worker
from webapp.fleet.models import Worker
from webapp.runs import lifecycle
from webapp.runs.lifecycle import ClaimedRun
from webapp.runs.models import Attempt, HistoryLine, LogLine, Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

BROKEN = Outcome("failed", 0, "The GPU failed at step 0.", machine=True)


def claim(by: Worker | UUID) -> ClaimedRun | None:
    row = by if isinstance(by, UUID) else by.pk
    return lifecycle.claim_next(worker="box", kinds=("cpu", "cuda"), free={"cpu": 1, "cuda": 8}, by=row)


def claimed(by: Worker) -> ClaimedRun:
    held = claim(by)
    assert held is not None
    return held


def begun(by: Worker, *, step: int = 0) -> ClaimedRun:
    """A run that trains and has come so far."""
    held = claimed(by)
    lifecycle.started(held.token, pid=7, device="CPU")
    Run.objects.filter(pk=held.run_id).update(step=step)
    return held


def leave(one: Worker) -> None:
    Worker.objects.filter(pk=one.pk).update(left_at=Now())


def test_an_attempt_knows_its_worker() -> None:
    one = worker()
    queued_run()

    claimed(one)

    assert Attempt.objects.get().by == one


@pytest.mark.parametrize(
    "about", [{"store_problem": "it is away"}, {"set_aside_until": Now() + timedelta(minutes=1)}], ids=["no store", "aside"]
)
def test_a_worker_that_is_to_take_no_runs_claims_none(about: dict[str, Any]) -> None:
    one = worker(**about)
    queued_run()

    assert claim(one) is None


def test_a_worker_that_nobody_knows_claims_none() -> None:
    queued_run()

    assert claim(UUID(int=1)) is None


def test_a_run_that_one_worker_failed_before_its_first_step_goes_to_another() -> None:
    bad, good = worker("bad"), worker("good")
    queued_run()

    state = lifecycle.crashed(begun(bad).token, "Its process died.")

    assert (state, claim(bad)) == (State.QUEUED, None)
    assert claimed(good).attempt == 2
    assert Worker.objects.get(pk=bad.pk).failed_runs == [Run.objects.get().pk]


def test_a_run_that_crashes_after_a_step_may_come_back_to_its_worker_which_is_well() -> None:
    one = worker(failed_runs=[UUID(int=1)])
    worker("another")
    queued_run()

    lifecycle.crashed(begun(one, step=3).token, "Its process died.")

    assert claimed(one).attempt == 2
    assert Worker.objects.get(pk=one.pk).failed_runs == []


def test_the_only_worker_gets_its_run_again_after_the_others_that_wait() -> None:
    one = worker()
    first, second = queued_run(name="first"), queued_run(name="second")

    lifecycle.crashed(begun(one).token, "Its process died.")

    assert [claimed(one).run_id for _ in range(2)] == [second.pk, first.pk]


def test_a_run_that_every_worker_fails_comes_to_an_end() -> None:
    workers = [worker(f"box:{number}") for number in range(5)]
    queued_run()

    states = [lifecycle.crashed(begun(one).token, "Its process died.") for one in workers[:3]]

    assert states == [State.QUEUED, State.QUEUED, State.FAILED]
    assert Run.objects.get().reason == "3 attempts in a row ended before a checkpoint after the start. The last one: Its process died."


def test_a_machine_that_fails_a_run_hands_it_to_another_and_a_run_that_fails_itself_ends() -> None:
    bad, good = worker("bad"), worker("good")
    queued_run(name="first")
    handed_on = lifecycle.settle(begun(bad).token, BROKEN)
    reason = Run.objects.get().reason
    again = lifecycle.settle(begun(good).token, BROKEN)
    queued_run(name="second")
    own_fault = lifecycle.settle(begun(bad).token, Outcome("failed", 0, "optimizer: must be sgd or adam.", "optimizer", refused=True))

    assert (handed_on, reason) == (State.QUEUED, "The GPU failed at step 0. It is tried on another worker.")
    assert (again, own_fault) == (State.FAILED, State.FAILED)
    assert Run.objects.get(name="first").reason == "The GPU failed at step 0."


def test_a_machine_that_fails_after_a_step_or_alone_ends_the_run_in_its_own_words() -> None:
    one = worker()
    queued_run(name="alone")
    alone = lifecycle.settle(begun(one).token, BROKEN)
    worker("another")
    queued_run(name="late")

    late = lifecycle.settle(begun(one, step=9).token, Outcome("failed", 10, "A file could not be read.", machine=True))

    assert (alone, late) == (State.FAILED, State.FAILED)
    assert Run.objects.get(name="late").reason == "A file could not be read."


@pytest.mark.parametrize(
    ("other", "claims"),
    [(gpus(8), True), ({"store_problem": "it is away"}, True), ({"set_aside_until": Now() + timedelta(minutes=1)}, True), ({}, False)],
    ids=["has no slot", "has no store", "is aside", "fits"],
)
def test_only_a_worker_that_would_take_the_run_counts_as_another(other: dict[str, Any], claims: bool) -> None:
    bad = worker("bad")
    worker("other", **other)
    queued_run()

    lifecycle.crashed(begun(bad).token, "Its process died.")

    assert (claim(bad) is not None) == claims


def test_when_the_others_have_gone_the_one_that_failed_it_may_try_again() -> None:
    bad, good = worker("bad"), worker("good")
    queued_run()
    lifecycle.crashed(begun(bad).token, "Its process died.")
    lifecycle.forgive_where_nobody_else_is_left()
    before = claim(bad)

    leave(good)
    lifecycle.forgive_where_nobody_else_is_left()

    assert (before, claimed(bad).attempt) == (None, 2)


def test_a_run_that_is_given_back_waits_for_another_worker_and_counts_no_try() -> None:
    lost, other = worker("lost"), worker("other")
    queued_run()
    for number in range(2):
        lifecycle.crashed(begun(worker(f"bad:{number}")).token, "Its process died.")

    state = lifecycle.give_back(claimed(lost).token, "does not find its checkpoint.")
    after = claim(lost)
    leave(other)
    for one in Worker.objects.exclude(pk=lost.pk):
        leave(one)
    lifecycle.forgive_where_nobody_else_is_left()

    run = Run.objects.get()
    assert (state, after, claim(lost)) == (State.QUEUED, None, None)
    assert (run.reason, run.attempts.get(by=lost).exit) == ("box does not find its checkpoint.", "returned")
    assert Worker.objects.get(pk=lost.pk).failed_runs == []


def test_a_given_back_run_that_was_to_stop_is_stopped() -> None:
    one = worker()
    run = queued_run()
    held = claimed(one)
    lifecycle.request_stop(run, "ann")

    state = lifecycle.give_back(held.token, "does not find its checkpoint.")

    assert (state, Run.objects.get().reason) == (State.STOPPED, "A stop had been asked for. box does not find its checkpoint.")


def test_a_person_who_says_go_gives_the_run_to_every_worker_again() -> None:
    one = worker()
    run = queued_run()
    lifecycle.give_back(claimed(one).token, "does not find its checkpoint.")
    lifecycle.request_stop(run, "ann")

    lifecycle.requeue(run, "ann", from_scratch=True)

    assert claimed(one).attempt == 2


def test_a_stall_is_written_until_it_moves_and_is_no_change_of_state() -> None:
    queued_run()
    held = begun(worker())
    lines = HistoryLine.objects.count()

    lifecycle.stalled(held.token, "Made no step for 2 min.")
    still = Attempt.objects.get()
    lifecycle.moves(held.token, "Moves again after 3 min.")
    moving = Attempt.objects.get()

    assert (still.stalled_since is not None, still.stall) == (True, "Made no step for 2 min.")
    assert (moving.stalled_since, moving.stall) == (None, "")
    assert list(LogLine.objects.order_by("id").values_list("level", "text")) == [
        ("warning", "Made no step for 2 min."),
        ("info", "Moves again after 3 min."),
    ]
    assert (Run.objects.get().state, HistoryLine.objects.count()) == (State.RUNNING, lines)


@pytest.mark.parametrize("verb", [lifecycle.stalled, lifecycle.moves, lifecycle.give_back])
def test_a_worker_that_lost_its_run_says_nothing_of_it(verb: Any) -> None:
    queued_run()
    held = begun(worker())
    Attempt.objects.update(heartbeat_at=Now() - timedelta(hours=1))
    lifecycle.requeue_expired()

    with pytest.raises(lifecycle.LeaseLost):
        verb(held.token, "Made no step for 2 min.")

    assert not LogLine.objects.exists()
