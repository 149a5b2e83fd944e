"""The run's life, verb by verb, against PostgreSQL."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from engine.events import Outcome
from tests.runs import claim, new_project, new_run, queued_run, running_claim
from webapp.accounts.models import User
from webapp.catalog.models import ModelRecord
from webapp.runs import lifecycle
from webapp.runs.lifecycle import LeaseLost, NotAllowed, Token
from webapp.runs.models import Artifact, Attempt, HistoryLine, Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

SUCCEEDED = Outcome("succeeded", 20, "Finished.")


def at_once(*deeds: Callable[[], Any]) -> list[Any]:
    """Does these in threads that start together, each with a connection of its own; what each returned or raised."""
    start = threading.Barrier(len(deeds))
    answers: list[Any] = [None] * len(deeds)

    def do(index: int) -> None:
        start.wait()
        try:
            answers[index] = deeds[index]()
        except Exception as error:
            answers[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=do, args=(index,)) for index in range(len(deeds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def let_lease_expire(run_id: Any) -> None:
    Attempt.objects.filter(run_id=run_id, ended_at=None).update(heartbeat_at=Now() - timedelta(hours=1))


def test_a_submitted_run_is_queued_and_its_history_says_who_did_it() -> None:
    run = new_run()

    lifecycle.submit(run, who="ann")

    line = HistoryLine.objects.get(run=run)
    assert (line.who, line.before, line.after, line.reason) == ("ann", "draft", "queued", "Submitted.")


@pytest.mark.django_db(transaction=True)
def test_of_two_workers_that_claim_at_once_one_gets_the_run() -> None:
    queued_run()

    answers = at_once(lambda: claim("worker-1"), lambda: claim("worker-2"))

    assert sorted(answer is None for answer in answers) == [False, True]
    assert Attempt.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_workers_that_claim_two_runs_at_once_do_not_wait_for_each_other() -> None:
    first, second = queued_run(name="first"), queued_run(name="second")

    answers = at_once(lambda: claim("worker-1"), lambda: claim("worker-2"))

    assert {answer.run_id for answer in answers} == {first.pk, second.pk}


def test_the_highest_priority_goes_first_and_then_the_longest_wait() -> None:
    older, newer, urgent = queued_run(name="older"), queued_run(name="newer"), queued_run(name="urgent", priority=5)

    order = [claim(f"worker-{number}").run_id for number in range(3)]  # type: ignore[union-attr]

    assert order == [urgent.pk, older.pk, newer.pk]


@pytest.mark.parametrize(
    ("device_kind", "devices", "free", "gets"),
    [
        ("cpu", 1, {"cpu": 1}, "cpu"),
        ("cpu", 1, {"cuda": 8}, None),
        ("cuda", 2, {"cpu": 4, "cuda": 1}, None),
        ("cuda", 2, {"cpu": 4, "cuda": 2}, "cuda"),
        ("any", 1, {"cpu": 1, "cuda": 1}, "cuda"),
        ("any", 1, {"cpu": 1, "cuda": 0}, "cpu"),
        ("any", 2, {"cpu": 4, "cuda": 1}, None),
        ("cpu", 1, {"cpu": 0}, None),
    ],
)
def test_a_run_is_claimed_only_where_its_devices_are_free(device_kind: str, devices: int, free: dict[str, int], gets: str | None) -> None:
    queued_run(device_kind=device_kind, device="auto", devices=devices)

    held = claim(free=free)

    assert (held and held.device_kind) == gets


def test_the_stale_token_of_a_lost_lease_can_do_nothing() -> None:
    held = running_claim()
    let_lease_expire(held.run_id)
    lifecycle.requeue_expired()
    deeds: list[Callable[[], Any]] = [
        lambda: lifecycle.renew(held.token),
        lambda: lifecycle.started(held.token, pid=1, device="CPU"),
        lambda: lifecycle.checkpointed(held.token, 10, "runs/x/checkpoints/step-10"),
        lambda: lifecycle.settle(held.token, SUCCEEDED),
        lambda: lifecycle.crashed(held.token, "It died."),
        lambda: lifecycle.fenced(held.token).__enter__(),
    ]

    refused = 0
    for deed in deeds:
        with pytest.raises(LeaseLost):
            deed()
        refused += 1

    run = Run.objects.get(pk=held.run_id)
    assert (refused, run.state, run.checkpoint_step) == (6, State.QUEUED, None)


@pytest.mark.django_db(transaction=True)
def test_a_take_over_waits_for_the_write_in_flight_and_none_follows_it() -> None:
    held = running_claim()
    let_lease_expire(held.run_id)
    writing, may_commit = threading.Event(), threading.Event()

    def write() -> None:
        with lifecycle.fenced(held.token):
            writing.set()
            may_commit.wait(10)

    def look() -> tuple[list[Any], list[Any]]:
        writing.wait(10)
        during = lifecycle.requeue_expired()
        may_commit.set()
        return during, []

    answers = at_once(write, look)
    after = lifecycle.requeue_expired()

    assert answers[1][0] == []
    assert after == [held.run_id]
    with pytest.raises(LeaseLost), lifecycle.fenced(held.token):
        pass


@pytest.mark.django_db(transaction=True)
def test_an_expired_lease_is_requeued_once_though_two_watchdogs_look() -> None:
    held = running_claim()
    let_lease_expire(held.run_id)

    answers = at_once(lifecycle.requeue_expired, lifecycle.requeue_expired)

    assert sorted(answers, key=len) == [[], [held.run_id]]
    assert HistoryLine.objects.filter(run_id=held.run_id, after=State.QUEUED, before=State.RUNNING).count() == 1


def test_a_lost_run_goes_on_elsewhere_from_its_checkpoint() -> None:
    held = running_claim()
    lifecycle.checkpointed(held.token, 10, f"{held.folder}/checkpoints/step-000000010")
    let_lease_expire(held.run_id)
    lifecycle.requeue_expired()

    again = claim("worker-2")

    assert again is not None
    assert (again.attempt, again.from_step, again.resume_path) == (2, 10, f"{held.folder}/checkpoints/step-000000010")
    assert Attempt.objects.get(run_id=held.run_id, number=1).exit == "lost"


def test_a_heartbeat_keeps_the_lease_and_takes_the_silent_mark_away(settings: Any) -> None:
    held = running_claim()
    Attempt.objects.update(heartbeat_at=Now() - timedelta(seconds=settings.SILENT_SECONDS + 1))

    marked, marked_again = lifecycle.mark_silent(), lifecycle.mark_silent()
    taken = lifecycle.requeue_expired()
    lifecycle.renew(held.token)

    assert (marked, marked_again, taken) == ([held.run_id], [], [])
    assert Attempt.objects.get().silent_since is None


def test_a_run_that_waits_is_stopped_at_once_and_not_claimed() -> None:
    run = queued_run()

    stopped = lifecycle.request_stop(run, "ann")

    assert (stopped.state, stopped.reason) == (State.STOPPED, "Stopped by ann before it started.")
    assert claim() is None


@pytest.mark.parametrize("start", [False, True], ids=["during the start", "during a step"])
def test_a_stop_of_a_held_run_is_an_order_that_the_next_heartbeat_brings(start: bool) -> None:
    person = User.objects.create(username="ann")
    run = queued_run()
    held = claim()
    assert held is not None
    if start:
        lifecycle.started(held.token, pid=1, device="CPU")
    before = lifecycle.renew(held.token)

    lifecycle.request_stop(run, person)

    assert (before.stop, lifecycle.renew(held.token).stop) == (False, True)
    lifecycle.settle(held.token, Outcome("stopped", 7, "Stopped as asked after step 7."))
    run.refresh_from_db()
    assert (run.state, run.step, run.stop_requested_by) == (State.STOPPED, 7, person)


def test_a_run_that_was_to_stop_is_stopped_when_its_worker_is_lost() -> None:
    held = running_claim()
    lifecycle.request_stop(Run.objects.get(), "ann")
    let_lease_expire(held.run_id)

    lifecycle.requeue_expired()

    assert Run.objects.get().state == State.STOPPED


def test_a_finished_run_cannot_be_stopped() -> None:
    held = running_claim()
    lifecycle.settle(held.token, SUCCEEDED)

    with pytest.raises(NotAllowed) as refusal:
        lifecycle.request_stop(Run.objects.get(), "ann")

    assert str(refusal.value) == "The run has already succeeded, so it can't be stopped."


def test_a_stopped_run_resumes_from_its_checkpoint_and_a_retry_starts_anew() -> None:
    held = running_claim()
    lifecycle.checkpointed(held.token, 10, f"{held.folder}/checkpoints/step-000000010")
    lifecycle.request_stop(Run.objects.get(), "ann")
    lifecycle.settle(held.token, Outcome("stopped", 10, "Stopped as asked."))

    resumed = lifecycle.requeue(Run.objects.get(), "ann")
    lifecycle.request_stop(resumed, "ann")
    retried = lifecycle.requeue(resumed, "ann", from_scratch=True)

    assert (resumed.checkpoint_step, resumed.reason, resumed.finished_at) == (10, "Goes on from step 10.", None)
    assert (retried.checkpoint_step, retried.checkpoint_path, retried.state) == (None, "", State.QUEUED)


def test_a_run_that_dies_three_times_at_the_same_place_has_failed() -> None:
    queued_run()
    states = []
    for number in range(3):
        held = claim(f"worker-{number}")
        assert held is not None
        lifecycle.started(held.token, pid=1, device="CPU")
        states.append(lifecycle.crashed(held.token, "Its process died of SIGSEGV."))

    run = Run.objects.get()

    assert states == [State.QUEUED, State.QUEUED, State.FAILED]
    assert run.reason == "3 attempts in a row ended before a checkpoint after the start. The last one: Its process died of SIGSEGV."


def test_a_run_that_dies_but_gets_on_is_not_given_up() -> None:
    queued_run()
    for step in range(1, 8):
        held = claim()
        assert held is not None
        lifecycle.started(held.token, pid=1, device="CPU")
        lifecycle.checkpointed(held.token, step, f"{held.folder}/checkpoints/step-{step}")

        state = lifecycle.crashed(held.token, "Its process was killed.")

        assert state == State.QUEUED


def test_a_person_who_resumes_a_failed_run_gives_it_three_tries_again() -> None:
    queued_run()
    for _ in range(3):
        held = claim()
        assert held is not None
        lifecycle.crashed(held.token, "It died.")
    lifecycle.requeue(Run.objects.get(), "ann")
    held = claim()
    assert held is not None

    state = lifecycle.crashed(held.token, "It died.")

    assert state == State.QUEUED


def test_a_run_interrupted_by_its_workers_shutdown_keeps_its_place_in_the_queue() -> None:
    held = running_claim()
    queued_run(name="later")

    state = lifecycle.settle(held.token, Outcome("stopped", 5, "Stopped as asked."))

    again = claim()
    assert (state, again and again.run_id) == (State.QUEUED, held.run_id)


def test_a_success_leaves_a_model_with_its_teachers_as_parents() -> None:
    project = new_project()
    teacher = running_claim(name="teacher")
    Artifact.objects.create(
        run_id=teacher.run_id, attempt=1, name="student", kind="model", path=f"{teacher.folder}/student", bytes=1, sha256="0" * 64,
        meta={"kind": "classifier", "architecture": "mlp-128-128", "parameters": 26122},
    )  # fmt: skip
    lifecycle.settle(teacher.token, SUCCEEDED)
    run = queued_run(project, method="vanilla-kd", teachers=[f"run:{teacher.run_id}"])
    run.teachers.add(ModelRecord.objects.get())

    held = claim()
    assert held is not None
    lifecycle.started(held.token, pid=1, device="CPU")
    Artifact.objects.create(
        run=run, attempt=1, name="student", kind="model", path="x", bytes=1, sha256="0" * 64, meta={"kind": "classifier"}
    )
    lifecycle.settle(held.token, SUCCEEDED)

    assert held.models == {f"run:{teacher.run_id}": f"runs/{teacher.run_id}/attempt-1/student"}
    assert [parent.architecture for parent in ModelRecord.objects.get(run=run).parents.all()] == ["mlp-128-128"]


def test_a_model_of_another_project_is_not_handed_to_a_run() -> None:
    foreign = running_claim(project=new_project("elsewhere"))
    Artifact.objects.create(run_id=foreign.run_id, attempt=1, name="student", kind="model", path="x", bytes=1, sha256="0" * 64)
    lifecycle.settle(foreign.token, SUCCEEDED)
    queued_run(method="vanilla-kd", teachers=[f"run:{foreign.run_id}"])

    held = claim()

    assert held is not None
    assert held.models == {}


def test_a_held_run_is_not_thrown_away_and_a_waiting_one_is_stopped_by_it() -> None:
    held, waiting = running_claim(), queued_run()

    with pytest.raises(NotAllowed) as refusal:
        lifecycle.trash(Run.objects.get(pk=held.run_id), "ann")
    trashed = lifecycle.trash(waiting, "ann")

    assert str(refusal.value) == "The run is running; stop it before deleting it."
    assert trashed.state == State.STOPPED
    assert lifecycle.restore(trashed, "ann").deleted_at is None


def test_a_priority_out_of_range_is_refused() -> None:
    run = queued_run()

    with pytest.raises(NotAllowed) as refusal:
        lifecycle.set_priority(run, "ann", 101)

    assert str(refusal.value) == "priority must be a whole number from -100 to 100; got 101."


def test_a_token_of_no_run_is_no_token() -> None:
    run = new_run()

    with pytest.raises(LeaseLost):
        lifecycle.renew(Token(run.pk, 0))
