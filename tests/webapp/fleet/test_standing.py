"""Failures before the first step, and what they cost a worker."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from tests.webapp.fleet.workers import worker
from webapp.fleet import standing
from webapp.fleet.models import Worker

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

RUNS = [UUID(int=number) for number in range(1, 20)]


@pytest.fixture(autouse=True)
def _three_in_a_row(settings: Any) -> None:
    settings.WORKER_FAILURES, settings.ASIDE_SECONDS = 3, 60.0


def seconds_aside(one: Worker) -> float:
    one.refresh_from_db()
    assert one.set_aside_until is not None
    return (one.set_aside_until - timezone.now()).total_seconds()


def let_its_time_pass(one: Worker) -> None:
    Worker.objects.filter(pk=one.pk).update(set_aside_until=Now() - timedelta(seconds=1))


def test_three_runs_in_a_row_that_fail_before_their_first_step_set_a_worker_aside() -> None:
    one = worker()

    aside = [standing.failed(one.pk, run, f"Run {run.int} died.") for run in RUNS[:3]]

    assert aside == [False, False, True]
    assert 50 < seconds_aside(one) <= 60
    assert one.set_aside_reason == "Run 3 died."
    assert not Worker.objects.claiming().exists()
    assert [each.is_set_aside for each in Worker.objects.live()] == [True]


def test_one_run_that_fails_again_and_again_sets_nobody_aside() -> None:
    one = worker()

    aside = [standing.failed(one.pk, RUNS[0], "It died.") for _ in range(5)]

    assert aside == [False] * 5
    assert Worker.objects.claiming().exists()


def test_a_step_between_failures_forgets_them() -> None:
    one = worker()
    for run in RUNS[:2]:
        standing.failed(one.pk, run, "It died.")

    standing.worked(one.pk)

    assert [standing.failed(one.pk, run, "It died.") for run in RUNS[2:5]] == [False, False, True]


def test_each_time_is_twice_as_long_up_to_an_hour_and_a_step_begins_anew() -> None:
    one, times = worker(), []
    for run in RUNS[:2]:
        standing.failed(one.pk, run, "It died.")
    for run in RUNS[2:12]:
        standing.failed(one.pk, run, "It died.")
        times.append(round(seconds_aside(one), -1))
        let_its_time_pass(one)
    standing.worked(one.pk)
    for run in RUNS[12:15]:
        standing.failed(one.pk, run, "It died.")

    assert times == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]
    assert round(seconds_aside(one), -1) == 60


def test_runs_that_had_begun_before_it_was_set_aside_make_its_time_no_longer() -> None:
    one = worker()
    for run in RUNS[:3]:
        standing.failed(one.pk, run, "It died.")

    again = standing.failed(one.pk, RUNS[3], "It died too.")

    assert not again
    assert 50 < seconds_aside(one) <= 60
    assert one.set_aside_reason == "It died."


def test_a_worker_whose_row_has_gone_is_not_judged() -> None:
    assert not standing.failed(uuid4(), RUNS[0], "It died.")
    standing.worked(uuid4())

    assert not Worker.objects.exists()
