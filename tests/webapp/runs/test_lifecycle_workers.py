"""What workers and the watchdog do to a run: what is kept of an attempt, and what becomes of the run after it."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from engine.events import Outcome
from tests.runs import claim, new_run, queued_run, running_claim
from tests.webapp.runs.test_lifecycle import SUCCEEDED, let_lease_expire
from webapp.runs import lifecycle
from webapp.runs.lifecycle import ClaimedRun, LeaseLost
from webapp.runs.models import Attempt, Run, State
from workers import watchdog

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def started_again() -> ClaimedRun:
    held = claim("worker-2")
    assert held is not None
    lifecycle.started(held.token, pid=1, device="CPU")
    return held


def test_what_a_worker_says_of_itself_is_kept_with_the_attempt() -> None:
    queued_run()
    held = claim("worker-1")
    assert held is not None

    lifecycle.started(held.token, pid=77, device="d" * 300)

    attempt, run = Attempt.objects.get(), Run.objects.get()
    assert (attempt.worker, attempt.pid, attempt.device, attempt.from_step) == ("worker-1", 77, "d" * 200, 0)
    assert (run.state, run.reason, held.folder) == (State.RUNNING, f"Runs on {'d' * 300}.", f"runs/{run.pk}/attempt-1")


def test_a_run_began_when_its_first_attempt_did_and_goes_on_where_its_checkpoint_is() -> None:
    held = running_claim()
    began = Run.objects.get().started_at
    lifecycle.checkpointed(held.token, 12, "x")
    Run.objects.update(step=19)
    lifecycle.crashed(held.token, "It died.")

    started_again()

    run = Run.objects.get()
    assert (run.step, run.reason, run.started_at) == (12, "Goes on from step 12 on CPU.", began)


def test_the_end_of_a_childs_output_is_kept_and_holds_no_nul() -> None:
    held = running_claim()

    lifecycle.crashed(held.token, "It died.", "first\x00" + "x" * 19_999 + "\x00")

    lines = Attempt.objects.get().last_lines
    assert (len(lines), lines[:2], lines[-1]) == (20_000, "xx", "\N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize(
    ("status", "asked", "state", "reason", "ended"),
    [
        ("succeeded", True, State.SUCCEEDED, "Said so.", True),
        ("failed", True, State.FAILED, "Said so.", True),
        ("stopped", True, State.STOPPED, "Said so.", True),
        ("stopped", False, State.QUEUED, "Its worker is shutting down.", False),
    ],
)
def test_a_run_ends_as_the_engine_said(status: Any, asked: bool, state: State, reason: str, ended: bool) -> None:
    held = running_claim()
    if asked:
        lifecycle.request_stop(Run.objects.get(), "ann")
    Attempt.objects.update(silent_since=Now())

    answer = lifecycle.settle(held.token, Outcome(status, 9, "Said so."), "last line")

    run, attempt = Run.objects.get(), Attempt.objects.get()
    assert (answer, run.state, run.reason, run.step, run.finished_at is not None, run.stop_requested_at) == (
        state,
        state,
        reason,
        9,
        ended,
        None,
    )
    assert (attempt.exit, attempt.reason, attempt.last_lines, attempt.silent_since) == (status, "Said so.", "last line", None)
    assert attempt.ended_at is not None


def test_an_attempt_that_has_ended_holds_nothing_any_more() -> None:
    held = running_claim()
    lifecycle.settle(held.token, SUCCEEDED)
    deeds: list[Callable[[], Any]] = [
        lambda: lifecycle.renew(held.token),
        lambda: lifecycle.checkpointed(held.token, 10, "x"),
        lambda: lifecycle.settle(held.token, SUCCEEDED),
        lambda: lifecycle.crashed(held.token, "It died."),
    ]

    for deed in deeds:
        with pytest.raises(LeaseLost) as lost:
            deed()
        assert str(lost.value) == f"attempt 1 no longer holds run {held.run_id}"

    assert (Run.objects.get().state, Run.objects.get().checkpoint_step) == (State.SUCCEEDED, None)


def test_what_is_written_within_the_fence_is_taken_back_with_its_error() -> None:
    held = running_claim()

    def write() -> None:
        with lifecycle.fenced(held.token):
            Run.objects.update(phase="half written")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()

    assert Run.objects.get().phase == ""


def test_a_run_that_was_to_stop_is_stopped_by_its_crash() -> None:
    held = running_claim()
    lifecycle.request_stop(Run.objects.get(), "ann")

    state = lifecycle.crashed(held.token, "Its process was killed.")

    assert (state, Run.objects.get().reason) == (State.STOPPED, "A stop had been asked for. Its process was killed.")


@pytest.mark.parametrize("checkpoint", [None, 10])
def test_losses_and_crashes_count_alike_until_a_run_is_given_up(checkpoint: int | None, settings: Any) -> None:
    held = running_claim()
    if checkpoint:
        lifecycle.checkpointed(held.token, checkpoint, "x")
        lifecycle.crashed(held.token, "It died after its checkpoint.")  # that one got on
        held = started_again()
    lifecycle.crashed(held.token, "It died.")
    for _ in range(2):
        held = started_again()
        let_lease_expire(held.run_id)
        lifecycle.requeue_expired()

    run = Run.objects.get()
    where = f"step {checkpoint}" if checkpoint else "the start"
    assert run.state == State.FAILED
    assert run.reason == (
        f"3 attempts in a row ended before a checkpoint after {where}. "
        f"The last one: worker-2 was silent for more than {settings.LEASE_SECONDS:g} seconds."
    )


def test_an_interruption_between_crashes_begins_the_count_anew() -> None:
    held = running_claim()
    for _ in range(2):
        lifecycle.crashed(held.token, "It died.")
        held = started_again()
    lifecycle.settle(held.token, Outcome("stopped", 0, "Interrupted."))

    states = [lifecycle.crashed(started_again().token, "It died.") for _ in range(3)]

    assert states == [State.QUEUED, State.QUEUED, State.FAILED]


@pytest.mark.parametrize("why", ["a stop was asked for", "in the trash", "still a draft"])
def test_a_run_that_is_not_to_run_is_not_claimed(why: str) -> None:
    run = new_run() if why == "still a draft" else queued_run()
    if why == "a stop was asked for":
        Run.objects.filter(pk=run.pk).update(stop_requested_at=Now())
    elif why == "in the trash":
        Run.objects.filter(pk=run.pk).update(deleted_at=Now())

    assert claim() is None
    assert not Attempt.objects.exists()


def test_a_worker_claims_for_the_devices_that_it_has_and_not_for_what_it_is_told_is_free() -> None:
    queued_run(device_kind="cuda", device="auto")

    assert lifecycle.claim_next(worker="w", kinds=("cpu",), free={"cpu": 1, "cuda": 8}) is None
    assert lifecycle.claim_next(worker="w", kinds=(), free={"cuda": 8}) is None


def test_a_claim_tells_everything_that_the_child_needs() -> None:
    run = queued_run(device_kind="cuda", device="auto", devices=2, seed=3)

    held = claim(free={"cuda": 4})

    assert held is not None
    assert (held.run_id, held.attempt, held.device_kind, held.device_count, held.resume_path, held.from_step, held.models) == (
        run.pk,
        1,
        "cuda",
        2,
        None,
        0,
        {},
    )
    assert held.spec == run.spec


def test_only_current_attempts_of_held_runs_fall_silent_or_are_lost(settings: Any) -> None:
    held = running_claim(name="late")
    lifecycle.crashed(held.token, "It died.")
    again = started_again()
    ended = running_claim(name="ended")
    lifecycle.settle(ended.token, SUCCEEDED)
    Attempt.objects.filter(run_id=ended.run_id).update(heartbeat_at=Now() - timedelta(hours=1))
    Attempt.objects.filter(run_id=held.run_id, number=1).update(heartbeat_at=Now() - timedelta(hours=1), ended_at=None)

    assert (lifecycle.mark_silent(), lifecycle.requeue_expired()) == ([], [])
    assert not Attempt.objects.filter(silent_since__isnull=False).exists()
    lifecycle.renew(again.token)


def test_the_watchdog_marks_the_late_takes_from_the_lost_and_says_so(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    late, lost, fine = running_claim(name="late"), running_claim(name="lost"), running_claim(name="fine")
    Attempt.objects.filter(run_id=late.run_id).update(heartbeat_at=Now() - timedelta(seconds=settings.SILENT_SECONDS + 1))
    let_lease_expire(lost.run_id)

    with caplog.at_level(logging.WARNING, logger=watchdog.__name__):
        watchdog.look_around()

    states = dict(Run.objects.values_list("name", "state"))
    assert states == {"late": State.RUNNING, "lost": State.QUEUED, "fine": State.RUNNING}
    assert sorted(record.getMessage() for record in caplog.records) == sorted(
        [
            f"The worker of run {late.run_id} is silent",
            f"The worker of run {lost.run_id} is silent",
            f"Run {lost.run_id} was taken from a worker whose lease ran out",
        ]
    )
    assert not lifecycle.renew(fine.token).stop
