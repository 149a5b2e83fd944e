"""The jobs of a worker that has no room: it rings for others, and not for ever."""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.runs import queued_run
from tests.webapp.fleet.workers import gpus, worker
from webapp.runs.models import Attempt, Run
from workers.jobs import PASS_ON, answer_the_doorbell, keep_watch
from workers.supervisor import _cause

Rings = Callable[..., list[list[Any]]]


@pytest.fixture
def rings_of(django_capture_on_commit_callbacks: Any) -> Rings:
    """The arguments of each ring that a job makes: kind of device, and by how many it was passed on."""

    def rings(job: Callable[[], None]) -> list[list[Any]]:
        with django_capture_on_commit_callbacks() as callbacks:
            job()
        return [list(callback.args) for callback in callbacks]

    return rings


@pytest.mark.servers
@pytest.mark.django_db
def test_a_ring_that_another_worker_has_room_for_is_passed_on_a_limited_number_of_times(rings_of: Rings) -> None:
    queued_run(device_kind="cuda", device="auto")
    worker(**gpus(1))

    passed = {number: rings_of(lambda number=number: answer_the_doorbell("cuda", number)) for number in (0, 3, PASS_ON - 1, PASS_ON)}  # type: ignore[misc]

    assert passed == {0: [["cuda", 1]], 3: [["cuda", 4]], PASS_ON - 1: [["cuda", PASS_ON]], PASS_ON: []}
    assert not Attempt.objects.exists()


@pytest.mark.servers
@pytest.mark.django_db
def test_a_ring_for_what_fits_nobody_is_not_passed_on(rings_of: Rings) -> None:
    queued_run(device_kind="any", device="auto")
    Run.objects.update(device_count=9)
    worker(**gpus(8))

    assert [rings_of(lambda kind=kind: answer_the_doorbell(kind)) for kind in ("cpu", "cuda")] == [[], []]  # type: ignore[misc]


@pytest.mark.servers
@pytest.mark.django_db
def test_a_ring_for_nothing_is_not_passed_on(rings_of: Rings) -> None:
    queued_run(device_kind="cuda", device="auto")
    worker(gpu_count=1)

    assert rings_of(lambda: answer_the_doorbell("cpu")) == []


@pytest.mark.servers
@pytest.mark.django_db
def test_the_watchs_job_rings_for_what_waits(rings_of: Rings) -> None:
    queued_run(device_kind="any", device="auto")
    worker(gpu_count=1)

    assert sorted(rings_of(keep_watch)) == [["cpu", 0], ["cuda", 0]]


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (-signal.SIGKILL, "Its process was killed (SIGKILL); often that means that memory ran out."),
        (-signal.SIGSEGV, "Its process died of SIGSEGV."),
        (0, "Its process ended with code 0 and without an answer."),
        (2, "Its process ended with code 2 and without an answer."),
    ],
)
def test_a_child_that_said_nothing_has_a_cause_of_death(code: int, cause: str) -> None:
    assert _cause(code) == cause
