"""Which run a worker gets, beside others that want runs too; and how long it may have it."""

from datetime import timedelta

import pytest
from django.db.models import F

from engine.events import Outcome
from tests.runs import new_project, queued_run, running_claim
from tests.webapp.fleet.workers import gpus, worker
from webapp.accounts.models import Project
from webapp.fleet.models import Worker
from webapp.runs import lifecycle
from webapp.runs.lifecycle import ClaimedRun
from webapp.runs.models import Attempt, HistoryLine, Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def claim(by: Worker, *, cuda: int = 0, cpu: int = 0) -> str | None:
    held = lifecycle.claim_next(worker=by.name, kinds=("cpu", "cuda"), free={"cpu": cpu, "cuda": cuda}, by=by.pk)
    return None if held is None else Run.objects.get(pk=held.run_id).name


def on_gpus(name: str, devices: int, **about: object) -> Run:
    return queued_run(name=name, device="cuda", device_kind="cuda", devices=devices, **about)


def test_a_machine_is_kept_free_for_a_large_run_that_waits_for_it() -> None:
    """Forty of forty claims went to runs on one GPU while a run on eight of the highest priority waited."""
    machine = worker(**gpus(8))
    for number in range(4):
        on_gpus(f"small {number}", 1)
    begun = [claim(machine, cuda=8 - number) for number in range(2)]
    on_gpus("large", 8, priority=100)

    while_two_run = claim(machine, cuda=6)
    Attempt.objects.update(ended_at=F("started_at"))
    Run.objects.filter(state=State.STARTING).update(state=State.STOPPED, finished_at=F("created_at"))
    when_all_are_free = claim(machine, cuda=8)

    assert (begun, while_two_run, when_all_are_free) == (["small 0", "small 1"], None, "large")


def test_another_machine_goes_on_meanwhile() -> None:
    kept, other = worker(**gpus(8)), worker(**gpus(2))
    on_gpus("first", 1)
    assert claim(kept, cuda=8) == "first"
    on_gpus("large", 8, priority=100)
    on_gpus("small", 1)

    assert claim(kept, cuda=7) is None
    assert claim(other, cuda=2) == "small"


def test_a_run_with_a_short_time_limit_goes_ahead_where_the_end_of_what_runs_is_known() -> None:
    machine = worker(**gpus(8))
    on_gpus("runs", 1)
    assert claim(machine, cuda=8) == "runs"
    Run.objects.update(state=State.RUNNING, steps_per_second=1.0, step=0, total_steps=1000)
    on_gpus("large", 8, priority=100)
    on_gpus("long", 1, seconds_limit=1001)
    on_gpus("short", 1, seconds_limit=900)

    assert claim(machine, cuda=7) == "short"
    assert claim(machine, cuda=6) is None


def test_the_usual_time_limit_says_nothing_of_how_long_a_run_lasts(settings: object) -> None:
    settings.RUN_SECONDS = 900  # type: ignore[attr-defined]
    machine = worker(**gpus(8))
    on_gpus("runs", 1)
    assert claim(machine, cuda=8) == "runs"
    Run.objects.update(state=State.RUNNING, steps_per_second=1.0, step=0, total_steps=1000)
    on_gpus("large", 8, priority=100)
    on_gpus("usual", 1, seconds_limit=900)

    assert claim(machine, cuda=7) is None


def test_two_projects_on_one_slot_are_served_in_turn() -> None:
    machine = worker(cpu_slots=1)
    for name in ("a1", "a2", "a3"):
        queued_run(new_project("a"), name=name)
    queued_run(new_project("b"), name="b1")
    served = []
    while (name := claim(machine, cpu=1)) is not None:
        served.append(name)
        Run.objects.filter(name=name).update(state=State.STOPPED, finished_at=F("created_at"))

    assert served == ["a1", "b1", "a2", "a3"]
    assert Project.objects.filter(served_at__isnull=False).count() == 2


def test_a_claim_says_what_is_left_of_the_time_limit() -> None:
    queued_run(seconds_limit=100)
    first = running()
    Attempt.objects.update(started_at=F("started_at") - timedelta(seconds=40))
    HistoryLine.objects.update(at=F("at") - timedelta(seconds=200))
    lifecycle.crashed(first.token, "It died.")

    second = running()

    assert first.seconds_left == pytest.approx(100, abs=5)
    assert second.seconds_left == pytest.approx(60, abs=5)


def running() -> ClaimedRun:
    held = lifecycle.claim_next(worker="w", kinds=("cpu",), free={"cpu": 1})
    assert held is not None
    lifecycle.started(held.token, pid=7, device="CPU")
    return held


def test_a_run_whose_time_is_up_is_stopped_and_a_person_may_give_it_as_long_again() -> None:
    held = running_claim(seconds_limit=100)
    Attempt.objects.update(started_at=F("started_at") - timedelta(seconds=100))
    HistoryLine.objects.update(at=F("at") - timedelta(seconds=200))

    state = lifecycle.settle(held.token, Outcome("stopped", 12, "Stopped."), time_is_up=True)
    run = Run.objects.get()
    lifecycle.requeue(run, "ann")

    assert (state, run.reason) == (State.STOPPED, "Its time limit of 100 s was over at step 12; resume it, and it has as long again.")
    assert running().seconds_left == pytest.approx(100, abs=5)


def test_a_run_that_dies_after_its_time_is_up_is_not_tried_again() -> None:
    held = running_claim(seconds_limit=100)
    Attempt.objects.update(started_at=F("started_at") - timedelta(seconds=101))
    HistoryLine.objects.update(at=F("at") - timedelta(seconds=200))

    state = lifecycle.crashed(held.token, "It was killed.")

    assert state == State.STOPPED
    assert Run.objects.get().reason == "Its time limit of 100 s was over and did not stop by itself; resume it, and it has as long again."


def test_a_run_that_needs_more_memory_waits_for_a_worker_that_has_as_much() -> None:
    small, large = worker(run_memory_bytes=10**9), worker(run_memory_bytes=50 * 10**9)
    queued_run(name="huge")
    assert claim(small, cpu=1) == "huge"
    token = lifecycle.Token(Run.objects.get().pk, 1)
    lifecycle.started(token, pid=7, device="CPU")

    state = lifecycle.settle(token, Outcome("failed", 0, "It needs 30 GB.", refused=True, needed=30 * 10**9))

    assert (state, Run.objects.get().reason) == (State.QUEUED, "It needs 30 GB. It waits for a worker that has as much.")
    assert claim(small, cpu=1) is None
    assert claim(large, cpu=1) == "huge"


def test_a_run_that_no_worker_can_hold_is_refused() -> None:
    small = worker(run_memory_bytes=10**9)
    worker(run_memory_bytes=2 * 10**9)
    queued_run(name="huge")
    assert claim(small, cpu=1) == "huge"
    token = lifecycle.Token(Run.objects.get().pk, 1)
    lifecycle.started(token, pid=7, device="CPU")

    state = lifecycle.settle(token, Outcome("failed", 0, "It needs 30 GB.", refused=True, needed=30 * 10**9))

    assert (state, Run.objects.get().reason) == (State.FAILED, "It needs 30 GB.")
