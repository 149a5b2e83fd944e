"""What Prometheus is told of queue, runs, workers and store."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from engine.events import Outcome
from tests.runs import claim, new_run, queued_run, running_claim
from tests.webapp.fleet.workers import worker
from webapp.accounts.models import Project
from webapp.fleet import tally
from webapp.fleet.models import Tally, Worker
from webapp.monitoring import facts
from webapp.monitoring.facts import KEPT
from webapp.runs import lifecycle
from webapp.runs.models import Artifact, Attempt, Run
from workers import watchdog

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

GPU = {"uuid": "GPU-a", "name": "H200", "memory_bytes": 100, "free_bytes": 40}


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    KEPT.forget()
    yield
    KEPT.forget()


@pytest.fixture
def told(client: Client) -> Any:
    """The samples of a metric by the values of their labels, asked anew."""

    def samples(name: str) -> dict[tuple[str, ...], float]:
        KEPT.forget()
        families = text_string_to_metric_families(client.get("/metrics").content.decode())
        found = [sample for family in families for sample in family.samples if sample.name == name]
        return {tuple(sample.labels.values()): sample.value for sample in found}

    return samples


def test_runs_are_counted_by_state_without_the_trash(told: Any, project: Project) -> None:
    queued_run(project)
    new_run(project)
    lifecycle.trash(queued_run(project), "otto")

    runs = told("stillhouse_runs")

    assert {state: number for (state,), number in runs.items() if number} == {"queued": 1, "draft": 1}
    assert runs[("stopped",)] == 0


def test_runs_of_a_project_in_the_trash_are_not_counted(told: Any, project: Project) -> None:
    queued_run(project)
    before = told("stillhouse_runs")[("queued",)], told("stillhouse_queue_runs")[("cpu",)]

    Project.objects.filter(pk=project.pk).update(deleted_at=Now())

    assert before == (1, 1)
    assert (told("stillhouse_runs")[("queued",)], told("stillhouse_queue_runs")[("cpu",)]) == (0, 0)


def test_the_queue_is_told_by_the_kind_of_device_with_the_age_of_its_oldest(told: Any, project: Project) -> None:
    old = queued_run(project)
    queued_run(project, device_kind="any", device="auto")
    queued_run(project)
    Run.objects.filter(pk=old.pk).update(queued_at=Now() - timedelta(minutes=5))

    length, oldest = told("stillhouse_queue_runs"), told("stillhouse_queue_oldest_seconds")

    assert length == {("any",): 1, ("cpu",): 2, ("cuda",): 0}
    assert (oldest[("cpu",)] >= 300, oldest[("any",)] < 300, oldest[("cuda",)]) == (True, True, 0)


def test_attempts_are_counted_by_how_they_end_and_stay_counted_when_their_run_is_deleted_for_good(told: Any) -> None:
    lifecycle.settle(running_claim(name="good").token, Outcome("succeeded", 20, "Done."))
    lifecycle.crashed(running_claim(name="bad").token, "It died.")
    before = told("stillhouse_attempts_total")

    Run.objects.all().delete()

    counted = {end: number for (end,), number in before.items()}
    assert counted == {"succeeded": 1, "failed": 0, "stopped": 0, "crashed": 1, "lost": 0, "returned": 0}
    assert told("stillhouse_attempts_total") == before


def test_a_lost_lease_is_an_attempt_that_was_lost_and_a_look_is_counted(told: Any) -> None:
    running_claim()
    Attempt.objects.update(heartbeat_at=Now() - timedelta(hours=1))

    watchdog.look_around()

    assert told("stillhouse_attempts_total")[("lost",)] == 1
    assert told("stillhouse_watchdog_looks_total") == {(): 1}


def test_silent_and_stalled_attempts_are_those_of_held_runs(told: Any) -> None:
    running_claim(name="silent")
    queued_run(name="stalled")
    stalled = claim()
    assert stalled is not None
    Attempt.objects.filter(run__name="silent").update(silent_since=Now())
    lifecycle.stalled(stalled.token, "Made no step.")

    assert (told("stillhouse_silent_attempts"), told("stillhouse_stalled_attempts")) == ({(): 1}, {(): 1})


def test_workers_are_told_by_whether_they_take_runs(told: Any) -> None:
    for name, about in {
        "ready:1": {},
        "ready:2": {},
        "aside:1": {"set_aside_until": datetime(2100, 1, 1, tzinfo=UTC)},
        "lost:1": {"store_problem": "its store is gone"},
        "left:1": {"left_at": datetime(2026, 1, 1, tzinfo=UTC)},
    }.items():
        worker(name, **about)
    for name, ago in (("killed:1", timedelta(minutes=5)), ("forgotten:1", timedelta(hours=2))):
        worker(name)
        Worker.objects.filter(name=name).update(heard_at=Now() - ago)

    assert told("stillhouse_workers") == {("ready",): 2, ("set_aside",): 1, ("store_problem",): 1, ("silent",): 1}


def test_memory_is_told_once_a_device_though_two_workers_share_a_host(told: Any) -> None:
    for name in ("box:1", "box:2"):
        worker(name, memory_bytes=1000, free_memory_bytes=600, gpus=[GPU])

    assert told("stillhouse_device_memory_bytes") == {("memory", "box", "Main memory"): 1000, ("GPU-a", "box", "H200"): 100}
    assert told("stillhouse_device_free_memory_bytes") == {("memory", "box", "Main memory"): 600, ("GPU-a", "box", "H200"): 40}


def test_the_store_is_what_artifacts_have_and_what_the_worker_with_the_least_room_sees(told: Any) -> None:
    unknown = told("stillhouse_store_free_bytes")
    run = queued_run()
    for number in (1, 2):
        Artifact.objects.create(run=run, attempt=number, name="student", kind="model", path="x", bytes=number * 100, sha256="")
    worker("box:1", store_bytes=1000, store_free_bytes=500)
    worker("box:2", store_bytes=900, store_free_bytes=90)

    assert unknown == {}
    assert told("stillhouse_artifact_bytes") == {(): 300}
    assert (told("stillhouse_store_size_bytes"), told("stillhouse_store_free_bytes")) == ({(): 900}, {(): 90})


def test_the_lag_of_all_workers_is_one_histogram_whose_buckets_hold_the_smaller_ones(told: Any) -> None:
    tally.add({"lag/le/0.1": 3, "lag/le/1": 2, "lag/seconds": 2.5})
    tally.add({"lag/le/inf": 1, "lag/seconds": 400})

    buckets = {bound: count for (bound,), count in told("stillhouse_commit_lag_seconds_bucket").items()}

    assert (buckets["0.1"], buckets["0.5"], buckets["1"], buckets["300"], buckets["+Inf"]) == (3, 3, 5, 5, 6)
    assert (told("stillhouse_commit_lag_seconds_count"), told("stillhouse_commit_lag_seconds_sum")) == ({(): 6}, {(): 402.5})


def test_what_one_adds_to_a_tally_is_added_to_what_there_is() -> None:
    for _ in range(3):
        tally.add({"b": 2, "a": 0.5})

    assert tally.newest() == {"a": 1.5, "b": 6}
    assert Tally.objects.count() == 2


def test_a_scrape_costs_five_statements_and_the_next_within_two_seconds_none(client: Client, django_assert_num_queries: Any) -> None:
    for number in range(3):
        worker(f"box:{number}")
        queued_run(name=f"run {number}")
    client.get("/metrics")
    KEPT.forget()

    with django_assert_num_queries(5):
        first = client.get("/metrics")
    with django_assert_num_queries(0):
        second = client.get("/metrics")

    assert b"stillhouse_queue_runs" in first.content and b"stillhouse_queue_runs" in second.content


def test_facts_are_asked_anew_when_they_are_old(client: Client, monkeypatch: pytest.MonkeyPatch, told: Any) -> None:
    client.get("/metrics")
    queued_run()
    monkeypatch.setattr(facts, "KEPT_SECONDS", 0.0)

    text = client.get("/metrics").content.decode()

    assert re.search(r'^stillhouse_runs\{state="queued"\} 1\.0$', text, re.MULTILINE)


def test_metrics_are_not_for_strangers(client: Client) -> None:
    answer = client.get("/metrics", REMOTE_ADDR="203.0.113.5")

    assert answer.status_code == 403


def test_a_stranger_behind_a_local_proxy_is_still_a_stranger(client: Client) -> None:
    answer = client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.5"})

    assert answer.status_code == 403


@pytest.mark.parametrize(("sent", "status"), [("Bearer let-me-look", 200), ("Bearer guess", 403), ("Bearer ", 403)])
def test_metrics_are_told_to_who_has_the_token(client: Client, settings: Any, sent: str, status: int) -> None:
    settings.METRICS_TOKEN = "let-me-look"

    answer = client.get("/metrics", REMOTE_ADDR="203.0.113.5", headers={"Authorization": sent})

    assert answer.status_code == status
