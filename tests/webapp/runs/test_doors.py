"""Where it helps to ring: behind which door a worker has room for a run that waits."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.db.models.functions import Now

from tests.runs import queued_run
from tests.webapp.fleet.workers import gpus, worker
from webapp.fleet.models import Worker
from webapp.runs import lifecycle
from webapp.runs.models import Attempt, Quota, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

LATER = datetime(2100, 1, 1, tzinfo=UTC)


def waiting(kind: str = "cpu", count: int = 1, name: str = "waiting") -> Run:
    run = queued_run(name=name, device_kind=kind, device="cpu" if kind == "cpu" else "auto")
    Run.objects.filter(pk=run.pk).update(device_count=count)
    return run


def held_by(one: Worker, name: str, *, count: int = 1) -> Attempt:
    """A run that the worker trains."""
    run = waiting("any", count, name)
    held = lifecycle.claim_next(worker=one.name, kinds=("cpu", "cuda"), free={"cpu": 1, "cuda": 8}, by=one.pk)
    assert held is not None and held.run_id == run.pk
    return Attempt.objects.get(run=run)


@pytest.mark.parametrize(
    ("offered", "kind", "count", "doors"),
    [
        ({}, "cpu", 1, ["cpu"]),
        ({}, "any", 1, ["cpu"]),
        ({}, "cuda", 1, []),
        ({"gpu_count": 2}, "any", 1, ["cpu", "cuda"]),
        ({"gpu_count": 2}, "any", 2, ["cuda"]),
        (gpus(2), "cuda", 3, []),
        (gpus(2), "cpu", 1, []),
        ({"left_at": LATER}, "cpu", 1, []),
        ({"set_aside_until": LATER}, "cpu", 1, []),
        ({"store_problem": "its store is gone"}, "cpu", 1, []),
    ],
)
def test_a_door_is_rung_at_where_a_worker_has_the_devices(offered: dict[str, Any], kind: str, count: int, doors: list[str]) -> None:
    worker(**offered)

    waiting(kind, count)

    assert lifecycle.worth_ringing() == doors


def test_nobody_is_rung_for_a_run_that_waits_for_a_quota() -> None:
    worker()
    Quota.objects.create(project=waiting().project, running_runs=0)

    assert lifecycle.worth_ringing() == []


def test_what_is_deleted_or_about_to_stop_waits_for_nobody() -> None:
    worker()
    for field, name in (("deleted_at", "thrown away"), ("stop_requested_at", "stopping")):
        Run.objects.filter(pk=waiting(name=name).pk).update(**{field: Now()})

    assert lifecycle.worth_ringing() == []


def test_a_full_worker_is_not_rung_for_until_a_run_of_it_has_ended() -> None:
    one = worker(cpu_slots=1)
    attempt = held_by(one, "held")
    waiting()

    full = lifecycle.worth_ringing()
    lifecycle.crashed(lifecycle.Token(attempt.run_id, attempt.number), "It died.")

    assert (full, lifecycle.worth_ringing()) == ([], ["cpu"])


def test_a_worker_whose_run_is_not_heard_of_counts_as_free() -> None:
    attempt = held_by(worker(cpu_slots=1), "held")
    waiting()

    Attempt.objects.filter(pk=attempt.pk).update(heartbeat_at=Now() - timedelta(seconds=settings.SILENT_SECONDS + 1))

    assert lifecycle.worth_ringing() == ["cpu"]


def test_as_many_devices_count_as_held_as_a_run_has() -> None:
    held_by(worker(**gpus(8)), "held", count=5)
    waiting("cuda", 4)

    too_many = lifecycle.worth_ringing()
    waiting("cuda", 3, "smaller")

    assert (too_many, lifecycle.worth_ringing()) == ([], ["cuda"])


def test_a_full_worker_passes_a_ring_on_where_another_has_room() -> None:
    full = worker("full:1", cpu_slots=1)
    held_by(full, "held")
    waiting()

    alone = lifecycle.worth_ringing(besides=[full.pk])
    worker("free:1")

    assert (alone, lifecycle.worth_ringing(besides=[full.pk])) == ([], ["cpu"])


def test_a_worker_that_gave_a_run_away_is_not_rung_for_it() -> None:
    one = worker(cpu_slots=1)
    attempt = held_by(one, "returned")
    lifecycle.give_back(lifecycle.Token(attempt.run_id, attempt.number), "does not find its checkpoint.")

    for_nobody = lifecycle.worth_ringing()
    waiting(name="another")

    assert (for_nobody, lifecycle.worth_ringing()) == ([], ["cpu"])


def test_it_costs_three_statements_however_many_wait(django_assert_num_queries: Any) -> None:
    for number in range(3):
        worker(f"box:{number}")
        waiting(name=f"waiting {number}")

    with django_assert_num_queries(3):
        found = lifecycle.worth_ringing(besides=[UUID(int=1)])

    assert found == ["cpu"]
