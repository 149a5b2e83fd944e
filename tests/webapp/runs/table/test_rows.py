"""The table of runs: sorted, narrowed down, in pages, and always with the same few statements."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from engine.errors import SpecError
from tests.runs import new_run, queued_run
from tests.webapp.conftest import RunMaker
from tests.webapp.fleet.workers import worker
from webapp.accounts.models import Project
from webapp.runs import lifecycle
from webapp.runs.models import Attempt, LatestMetric, Run
from webapp.runs.table.rows import RunsPage, runs_page

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def names(page: RunsPage) -> list[str]:
    return [row.name for row in page.rows]


def measured(project: Project, name: str, **metrics: float | None) -> Run:
    """A run with these headline values."""
    run = new_run(project, name=name)
    LatestMetric.objects.bulk_create([LatestMetric(run=run, name=key, value=value, step=1, split="test") for key, value in metrics.items()])
    return run


def test_the_newest_run_comes_first(project: Project) -> None:
    for name in ("old", "new"):
        new_run(project, name=name)
    Run.objects.filter(name="old").update(created_at="2020-01-01T00:00:00Z")

    page = runs_page(project)

    assert names(page) == ["new", "old"]


@pytest.mark.parametrize(("sort", "order"), [("accuracy", ["low", "high", "none", "null"]), ("-accuracy", ["high", "low", "none", "null"])])
def test_runs_without_a_value_come_last_whichever_way_a_metric_sorts(project: Project, sort: str, order: list[str]) -> None:
    measured(project, "null", accuracy=None)
    measured(project, "high", accuracy=0.9)
    measured(project, "none", nll=0.1)
    measured(project, "low", accuracy=0.1)

    found = names(runs_page(project, sort=sort))

    assert found[:2] == order[:2]
    assert sorted(found[2:]) == order[2:]


def test_a_row_has_its_newest_headline_values(project: Project) -> None:
    measured(project, "run", accuracy=0.9, nll=None)

    (row,) = runs_page(project).rows

    assert row.metrics == {"accuracy": 0.9, "nll": None}


def test_a_row_of_a_silent_run_says_so(project: Project, running_run: RunMaker) -> None:
    run = running_run()
    Attempt.objects.filter(run=run).update(silent_since=run.created_at)

    (row,) = runs_page(project).rows

    assert (row.status.state, row.status.word) == ("running", "silent")


def test_a_row_is_silent_though_no_watchdog_has_looked_and_has_neither_pace_nor_time_left(
    project: Project, running_run: RunMaker, settings: Any
) -> None:
    runs = {name: running_run(name=name) for name in ("late", "heard")}
    Run.objects.update(step=5, steps_per_second=1.0)
    late = timedelta(seconds=settings.SILENT_SECONDS + 1)
    Attempt.objects.filter(run=runs["late"]).update(heartbeat_at=Now() - late)

    rows = {row.name: row.status for row in runs_page(project).rows}

    assert (rows["late"].word, rows["late"].rate, rows["late"].left) == ("silent", None, None)
    assert (rows["heard"].word, rows["heard"].rate, rows["heard"].left) == ("running", 1.0, 15.0)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ("state=queued", ["b"]),
        ("state=queued&state=draft", ["a", "b", "c"]),
        ("method=ps-kd", ["c"]),
        ("method=ps-kd,supervised", ["a", "b", "c"]),
        ("task=mnist", []),
        ("tag=warm", ["a", "b"]),
        ("tag=warm,small", ["a"]),
        ("q=ALPHA", ["a"]),
        ("q=ps-", ["c"]),
        ("q=warm", ["a", "b"]),
        ("q=alpha beta", []),
        ("q=100%25", []),
        ("", ["a", "b", "c"]),
    ],
)
def test_filters_narrow_the_table_down(project: Project, filters: str, found: list[str]) -> None:
    new_run(project, name="a")
    queued_run(project, name="b")
    new_run(project, name="c", method="ps-kd", budget={"epochs": 1})
    Run.objects.filter(name="a").update(tags=["warm", "small"], notes="About alpha.")
    Run.objects.filter(name="b").update(tags=["warm"])

    page = runs_page(project, QueryDict(filters), sort="name")

    assert names(page) == found


def test_a_range_of_time_includes_its_start_and_not_its_end(project: Project) -> None:
    first, second = new_run(project, name="first"), new_run(project, name="second")
    first.refresh_from_db()
    Run.objects.filter(pk=second.pk).update(created_at=first.created_at + timedelta(hours=1))
    start, end = first.created_at.isoformat(), (first.created_at + timedelta(hours=1)).isoformat()

    page = runs_page(project, {"created_after": start, "created_before": end})

    assert names(page) == ["first"]


def test_a_group_of_seeds_is_found_by_its_hash(project: Project) -> None:
    seeds = [new_run(project, name=f"seed {seed}", seed=seed) for seed in range(2)]
    new_run(project, name="other", settings={"batch_size": 8})

    page = runs_page(project, {"group": seeds[0].config_hash}, sort="name")

    assert names(page) == ["seed 0", "seed 1"]


def test_the_trash_is_apart(project: Project) -> None:
    new_run(project, name="kept")
    lifecycle.trash(new_run(project, name="thrown away"), "otto")

    assert names(runs_page(project)) == ["kept"]
    assert names(runs_page(project, {"trash": "true"})) == ["thrown away"]


def test_runs_of_other_projects_are_not_there(project: Project, elsewhere: Project) -> None:
    measured(elsewhere, "theirs", accuracy=0.5)
    new_run(project, name="ours")

    page = runs_page(project)

    assert (names(page), page.metric_names, page.total) == (["ours"], [], 1)


def test_the_filter_bar_offers_what_there_is(project: Project) -> None:
    measured(project, "a", accuracy=0.5, nll=0.2)
    new_run(project, name="b", method="ps-kd", budget={"epochs": 1})
    Run.objects.filter(name="a").update(tags=["z", "y"])
    Run.objects.filter(name="b").update(tags=["y"])

    page = runs_page(project)

    assert (page.tags, page.methods, page.tasks, page.metric_names) == (
        ["y", "z"],
        ["ps-kd", "supervised"],
        ["digits"],
        ["accuracy", "nll"],
    )


def test_a_page_beyond_the_end_is_empty(project: Project) -> None:
    new_run(project)

    page = runs_page(project, page=3, size=1)

    assert (page.rows, page.total, page.pages) == ([], 1, 1)


@pytest.mark.parametrize(
    ("arguments", "field"), [({"sort": "created_at; DROP"}, "sort"), ({"page": 0}, "page"), ({"size": 201}, "page_size")]
)
def test_a_table_that_makes_no_sense_is_refused(project: Project, arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as refused:
        runs_page(project, **arguments)

    assert [problem.field for problem in refused.value.problems] == [field]


def test_a_table_of_a_thousand_runs_with_twenty_metrics_takes_seven_statements(project: Project) -> None:
    Run.objects.bulk_create(
        Run(
            project=project,
            number=index + 1,
            name=f"run {index}",
            method_id="supervised",
            task_id="digits",
            spec={},
            config_hash="0" * 16,
            seed=index,
            tags=["t"],
            attempt=1,
        )
        for index in range(1000)
    )
    LatestMetric.objects.bulk_create(
        (
            LatestMetric(run_id=run_id, name=f"metric_{number:02}", value=(seed * 7919 % 1000) + number, step=1, split="test")
            for run_id, seed in Run.objects.values_list("pk", "seed")
            for number in range(20)
        ),
        batch_size=5000,
    )

    Attempt.objects.bulk_create(Attempt(run=run, number=1, worker="worker-1") for run in Run.objects.all())

    with CaptureQueriesContext(connection) as statements:
        page = runs_page(project, {"q": "run", "tag": "t"}, sort="-metric_07", size=200)

    assert len(statements) == 7
    values = [row.metrics["metric_07"] for row in page.rows]
    assert (page.total, len(values), values[0], len(page.rows[0].metrics)) == (1000, 200, 1006, 20)
    assert values == sorted(values, reverse=True)


def test_why_runs_wait_costs_two_statements_however_many_wait(project: Project, running_run: RunMaker) -> None:
    running_run()
    with CaptureQueriesContext(connection) as before:
        runs_page(project)
    for number in range(3):
        queued_run(project, name=f"cpu {number}")
    queued_run(project, name="gpu", device_kind="cuda", device="auto", devices=8)
    worker("box:1", cpu_slots=1, gpu_count=4)

    with CaptureQueriesContext(connection) as statements:
        rows = {row.name: row.status for row in runs_page(project).rows}

    assert len(statements) == len(before) + 2
    assert [rows[f"cpu {number}"].unserved for number in range(3)] == [""] * 3
    assert rows["gpu"].unserved == "No running worker has 8 GPUs; the most that one has is 4."
    assert rows["gpu"].reason == "No running worker has 8 GPUs; the most that one has is 4. Submitted."


@pytest.mark.parametrize("text", ["#2", "2"])
def test_a_run_is_found_by_its_number(project: Project, text: str) -> None:
    for name in ("one", "two", "three"):
        new_run(project, name=name)

    page = runs_page(project, {"q": text})

    assert "two" in [row.name for row in page.rows]
    assert text == "2" or [row.number for row in page.rows] == [2]
