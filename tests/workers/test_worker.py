"""A real worker: what people see of a run from the queue to its end."""

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from pytest_django import DjangoDbBlocker

from tests import processes
from tests.processes import Program
from tests.runs import history_of, queued_run
from tests.waiting import wait_for
from webapp.accounts.models import User
from webapp.fleet.models import Worker
from webapp.runs import doorbell, lifecycle
from webapp.runs.models import ENDED, Attempt, LogLine, Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

LONG: dict[str, Any] = {"budget": {"steps": 200_000}, "cadence": {"checkpoint": 200, "log": 50, "evaluate": 100_000}, "threads": 1}


def listening(worker: Program) -> Program:
    wait_for(lambda: "ready." in worker.output or not worker.is_running(), seconds=90, what="the worker to listen")
    assert worker.is_running(), worker.output
    return worker


@pytest.fixture(scope="module")
def environment(process_environment: dict[str, str]) -> dict[str, str]:
    return process_environment | {"STILLHOUSE_HEARTBEAT_SECONDS": "0.2"}


@pytest.fixture(scope="module")
def worker(environment: dict[str, str], django_db_blocker: DjangoDbBlocker) -> Iterator[Program]:
    """One worker with two slots for all tests here; each leaves it idle. Its row comes back after the last of them has emptied the database."""
    with processes.worker(environment, slots=2) as program:
        yield listening(program)
    with django_db_blocker.unblock():
        Worker.objects.all().delete()


def ended(run: Run) -> Run:
    wait_for(lambda: Run.objects.get(pk=run.pk).state in ENDED, seconds=60, what="the run to end")
    return Run.objects.get(pk=run.pk)


def reached(run: Run, step: int) -> Attempt:
    """The run's attempt, once it has a checkpoint at that step or later."""
    wait_for(lambda: (Run.objects.get(pk=run.pk).checkpoint_step or 0) >= step, seconds=60, what=f"a checkpoint at step {step}")
    return Attempt.objects.get(run=run, ended_at=None)


def test_a_worker_closes_the_store_to_other_accounts_before_anything_is_in_it(worker: Program) -> None:
    assert stat.S_IMODE(Path(settings.STORE).stat().st_mode) == 0o700


def test_a_queued_run_is_trained_and_everything_of_it_is_there(worker: Program) -> None:
    run = ended(queued_run(budget={"steps": 40}, cadence={"evaluate": 10}, threads=3))

    assert (run.state, run.step, run.total_steps, run.phase) == (State.SUCCEEDED, 40, 40, "train")
    assert run.attempts.get().device == "CPU, 3 threads"
    assert [line.after for line in run.history.all()] == ["queued", "starting", "running", "succeeded"]
    assert history_of(run.pk)["loss"][0] == list(range(1, 41))
    assert [(each.step, each.split) for each in run.evaluations.filter(subject="student", final=False)] == [
        (step, "validation") for step in (10, 20, 30)
    ]
    student = run.artifacts.get(kind="model")
    assert (Path(settings.STORE) / student.path / "model.safetensors").stat().st_size == student.bytes
    assert run.model.architecture == "mlp-16"
    assert run.latest.get(name="accuracy").split == "test"


def test_a_worker_opens_no_model_that_its_operator_did_not_allow(worker: Program, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    about = {"method": "vanilla-kd", "task": "stdlib-text", "budget": {"steps": 1}}

    runs = [ended(queued_run(**about, teachers=[f"hf:{name}"])) for name in (tmp_path, tmp_path / "nothing", "org/name")]

    for run in runs:
        assert run.state == State.FAILED
        assert run.reason.startswith(
            f"{run.spec['teachers'][0]['source']}:{run.spec['teachers'][0]['name']} may not be opened on this machine: "
        )


def test_a_doorbell_that_rings_many_times_makes_one_attempt(worker: Program) -> None:
    run = queued_run(budget={"steps": 40})
    for _ in range(5):
        doorbell.ring("cpu")

    run = ended(run)

    assert (run.state, run.attempts.count()) == (State.SUCCEEDED, 1)


def test_one_ring_is_enough_for_all_that_waits(worker: Program) -> None:
    runs = [queued_run(name=f"run {number}", budget={"steps": 40}) for number in range(4)]

    ends = [ended(run).state for run in runs]

    assert ends == [State.SUCCEEDED] * 4


def test_a_run_stops_with_a_checkpoint_and_resumes_from_it(worker: Program) -> None:
    person = User.objects.create(username="ann")
    run = queued_run(**(LONG | {"budget": {"steps": 3000}, "cadence": {"checkpoint": 200}}))
    reached(run, 200)

    lifecycle.request_stop(run, person)
    stopped = ended(run)
    lifecycle.requeue(stopped, person)
    finished = ended(run)

    assert (stopped.state, stopped.checkpoint_step, stopped.stop_requested_by) == (State.STOPPED, stopped.step, person)
    assert (finished.state, finished.attempts.count()) == (State.SUCCEEDED, 2)
    assert Attempt.objects.get(run=run, number=2).from_step == stopped.step
    assert history_of(run.pk)["loss"][0] == list(range(1, 3001))


def test_a_run_that_the_engine_fails_is_not_tried_again(worker: Program) -> None:
    run = ended(queued_run(budget={"steps": 400}, settings={"optimizer": "sgd", "learning_rate": 100.0, "momentum": 0.99}))

    assert (run.state, run.attempts.count()) == (State.FAILED, 1)
    assert run.reason.startswith("loss became nan at step ")
    assert LogLine.objects.filter(run=run, level="error", text__contains="NonFiniteError").exists()


def test_a_run_whose_teacher_is_gone_says_so(worker: Program) -> None:
    missing = "00000000-0000-4000-8000-000000000000"

    run = ended(queued_run(method="vanilla-kd", teachers=[f"run:{missing}"]))

    assert run.state == State.FAILED
    assert missing in run.reason


def test_a_checkpoint_that_was_cut_short_fails_the_run_with_a_sentence(worker: Program) -> None:
    run = queued_run(**LONG)
    reached(run, 200)
    lifecycle.request_stop(run, "ann")
    stopped = ended(run)
    tensors = Path(settings.STORE) / stopped.checkpoint_path / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-10])

    lifecycle.requeue(stopped, "ann")
    failed = ended(run)

    assert failed.state == State.FAILED
    assert "tensors.safetensors" in failed.reason


def test_a_killed_child_is_reported_and_its_last_lines_are_kept(worker: Program) -> None:
    run = queued_run(**LONG)
    attempt = reached(run, 200)

    os.kill(attempt.pid or 0, signal.SIGABRT)
    wait_for(lambda: Attempt.objects.filter(run=run, number=2, pid__isnull=False).exists(), what="a second attempt")
    lifecycle.request_stop(run, "ann")
    stopped = ended(run)

    attempt.refresh_from_db()
    assert (attempt.exit, attempt.reason) == ("crashed", "Its process died of SIGABRT.")
    assert "Fatal Python error: Aborted" in attempt.last_lines
    assert stopped.state == State.STOPPED


def test_a_run_goes_on_when_the_database_drops_its_connections(worker: Program) -> None:
    run = queued_run(budget={"steps": 4000}, cadence={"checkpoint": 500, "evaluate": 1000}, threads=1)
    wait_for(lambda: Run.objects.get(pk=run.pk).step >= 100, what="some steps")

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        (dropped,) = cursor.fetchone()
    run = ended(run)

    assert dropped >= 1
    assert (run.state, run.attempts.count()) == (State.SUCCEEDED, 1)
    assert history_of(run.pk)["loss"][0] == list(range(1, 4001))


def test_a_worker_that_is_asked_to_end_hands_its_run_back(environment: dict[str, str], worker: Program) -> None:
    lingering = [queued_run(name=f"filler {number}", **LONG) for number in range(2)]
    for each in lingering:
        reached(each, 200)  # the first worker is full
    with processes.worker(environment, slots=1) as leaving:
        listening(leaving)
        run = queued_run(**LONG)
        attempt = reached(run, 200)
        lifecycle.request_stop(lingering[0], "ann")

        code = leaving.stop(seconds=60)

    assert attempt.worker.endswith(f":{leaving.pid}")
    assert code == 0
    assert Attempt.objects.get(pk=attempt.pk).exit == "stopped"
    again = wait_for(lambda: Attempt.objects.filter(run=run, number=2, pid__isnull=False).first(), what="the other worker to take it")
    assert again.from_step >= 200
    for each in (run, lingering[1]):
        lifecycle.request_stop(each, "ann")
        ended(each)


def test_the_children_of_a_dead_worker_die_with_it(environment: dict[str, str], worker: Program) -> None:
    lingering = [queued_run(name=f"filler {number}", **LONG) for number in range(2)]
    for each in lingering:
        reached(each, 200)
    with processes.worker(environment, slots=1) as doomed:
        listening(doomed)
        reached(queued_run(**LONG), 200)
        family = doomed.descendants()

        doomed.kill()

        wait_for(lambda: not any(process.is_running() for process in family), seconds=10, what="its children to die")
    assert len(family) >= 2
    for run in Run.objects.all():
        if run in lingering:
            lifecycle.request_stop(run, "ann")
            ended(run)
