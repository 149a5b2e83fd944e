"""Why no worker takes a run, in one sentence, or nothing where one does."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from tests.webapp.fleet.workers import gpus, worker
from webapp.fleet.models import Worker
from webapp.fleet.waiting import why_nobody

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

LATER = datetime(2100, 1, 2, 14, 3, tzinfo=UTC)
ASIDE: dict[str, Any] = {"set_aside_until": LATER, "set_aside_reason": "The GPU failed."}


def why(kind: str = "cpu", count: int = 1, *, refused: tuple[Worker, ...] = ()) -> str:
    return why_nobody(kind, count, list(Worker.objects.live()), refused=[each.pk for each in refused])


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        ([], "No worker is running."),
        ([{"left_at": LATER}], "No worker is running."),
        ([{"heard_at": LATER - timedelta(days=99 * 365)}], "No worker is running."),
        ([gpus(8)], "No running worker trains on the CPU."),
        ([{}], ""),
        ([gpus(8), {}], ""),
        (
            [{"store_problem": "its store can't be written: Read-only file system"}],
            "box:1 would fit, but its store can't be written: Read-only file system.",
        ),
        ([ASIDE], "box:1 would fit, but it is set aside until 14:03:00 UTC: The GPU failed."),
        ([ASIDE, ASIDE, gpus(8)], "box:1 would fit, but it is set aside until 14:03:00 UTC: The GPU failed (1 more take no runs)."),
        ([ASIDE, {}], ""),
        ([ASIDE | {"set_aside_until": LATER - timedelta(days=99 * 365)}], ""),
    ],
    ids=["none", "left", "silent", "GPUs alone", "one", "one of two", "no store", "aside", "all aside", "one aside", "back again"],
)
def test_a_run_for_the_cpu(about: list[dict[str, Any]], sentence: str) -> None:
    for number, each in enumerate(about, start=1):
        worker(f"box:{number}", **each)

    assert why() == sentence


@pytest.mark.parametrize(
    ("kind", "count", "sentence"),
    [
        ("cuda", 1, ""),
        ("cuda", 4, ""),
        ("cuda", 8, "No running worker has 8 GPUs; the most that one has is 4."),
        ("any", 1, ""),
        ("any", 4, ""),
        ("any", 5, "No running worker has 5 GPUs; the most that one has is 4."),
        ("cpu", 1, "No running worker trains on the CPU."),
    ],
)
def test_what_a_run_asks_for_is_held_against_what_workers_have(kind: str, count: int, sentence: str) -> None:
    worker("box:1", **gpus(4))
    worker("box:2", **gpus(1))

    assert why(kind, count) == sentence


def test_a_run_for_a_gpu_waits_where_all_train_on_the_cpu_and_one_for_anything_does_not() -> None:
    worker()

    assert (why("cuda"), why("any")) == ("No running worker has a GPU.", "")
    assert why("cuda", 8) == why("any", 2) == "No running worker has a GPU."


def test_a_worker_that_gave_the_run_away_does_not_take_it_and_another_does() -> None:
    one = worker("box:1")

    alone = why(refused=(one,))
    worker("box:2")

    assert (alone, why(refused=(one,))) == ("No other running worker fits.", "")


def test_a_worker_lives_for_as_long_as_it_is_heard_of_by_the_databases_clock(settings: Any) -> None:
    settings.SILENT_SECONDS = 10.0
    for name, seconds in (("fresh", 9), ("late", 11)):
        worker(name, heard_at=Now() - timedelta(seconds=seconds))

    assert [each.name for each in Worker.objects.live()] == ["fresh"]
