"""The order of the table and its pages: ties, edges, and what stands in an address."""

from typing import Any

import pytest
from django.http import QueryDict

from engine.errors import SpecError
from tests.runs import new_run, queued_run
from tests.webapp.runs.table.test_rows import measured, names
from webapp.accounts.models import Project, User
from webapp.runs import lifecycle
from webapp.runs.models import Run
from webapp.runs.table.rows import COLUMNS, MAX_PAGE, MAX_PAGE_SIZE, PAGE_SIZE, nearest_page, runs_page

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def crowd(project: Project, count: int, **about: Any) -> list[Run]:
    """Runs of one moment, which only their ids tell apart."""
    return Run.objects.bulk_create(
        Run(
            project=project,
            number=number,
            name=f"run {number}",
            method_id="supervised",
            task_id="digits",
            spec={},
            seed=0,
            created_at="2026-01-01T00:00:00Z",
            **about,
        )
        for number in range(1, count + 1)
    )


def test_pages_of_runs_that_are_alike_show_each_run_once(project: Project) -> None:
    runs = crowd(project, 7)

    shown = {
        sort: [row.id for page in (1, 2, 3) for row in runs_page(project, sort=sort, page=page, size=3).rows]
        for sort in ("state", "-state", "finished", "-seed", "created", "-created")
    }

    assert shown == dict.fromkeys(shown, sorted(run.pk for run in runs))


def test_of_runs_with_one_value_the_newest_comes_first_whichever_way_they_are_sorted(project: Project) -> None:
    for day, name in enumerate(("old", "young", "newest"), start=1):
        measured(project, name, accuracy=0.5)
        Run.objects.filter(name=name).update(created_at=f"2026-01-0{day}T00:00:00Z")

    assert names(runs_page(project, sort="accuracy")) == names(runs_page(project, sort="-accuracy")) == ["newest", "young", "old"]


def test_the_table_sorts_by_each_of_its_columns_and_back(project: Project) -> None:
    about = {"low": ("failed", "supervised", "digits", 1), "the high": ("running", "vanilla-kd", "mnist", 2)}
    for name, (state, method, task, number) in about.items():
        new_run(project, name=name)
        Run.objects.filter(name=name).update(
            created_at=f"2026-01-0{number}T00:00:00Z",
            finished_at=f"2026-02-0{number}T00:00:00Z",
            state=state,
            method=method,
            task=task,
            attempt=1,
            seed=number,
            priority=number,
            step=number,
            train_seconds=number,
        )

    up, down = ({column: names(runs_page(project, sort=minus + column)) for column in COLUMNS} for minus in ("", "-"))

    assert set(up) == set(COLUMNS) and all(order == ["low", "the high"] for order in up.values()), up
    assert all(order == ["the high", "low"] for order in down.values()), down


def test_runs_that_have_not_finished_come_last_both_ways(project: Project) -> None:
    new_run(project, name="under way"), lifecycle.request_stop(queued_run(project, name="ended"), "otto")

    assert names(runs_page(project, sort="finished")) == names(runs_page(project, sort="-finished")) == ["ended", "under way"]


def refusal(project: Project, **arguments: Any) -> list[tuple[str, str]]:
    with pytest.raises(SpecError) as refused:
        runs_page(project, **arguments)
    return [(problem.field, problem.message) for problem in refused.value.problems]


def test_a_sort_is_a_known_name_with_at_most_one_minus(project: Project, elsewhere: Project) -> None:
    measured(elsewhere, "theirs", accuracy=0.5)

    for sort in ("--created", "-", "", "- name", "created-", "accuracy"):
        assert refusal(project, sort=sort) == [
            ("sort", f"there is nothing to sort by with the name {sort.removeprefix('-')!r}; choose one of {', '.join(COLUMNS)}.")
        ]


def test_what_makes_no_sense_is_refused_with_a_sentence(project: Project) -> None:
    refused = [
        refusal(project, page=0),
        refusal(project, page=MAX_PAGE + 1),
        refusal(project, size=0),
        refusal(project, size=MAX_PAGE_SIZE + 1),
        refusal(project, filters={"trash": "perhaps"}),
        refusal(project, filters={"q": "x" * 201}),
        refusal(project, filters=QueryDict("state=queued&state=asleep")),
    ]

    assert refused == [
        [("page", f"must be from 1 to {MAX_PAGE}; got 0.")],
        [("page", f"must be from 1 to {MAX_PAGE}; got {MAX_PAGE + 1}.")],
        [("page_size", f"must be from 1 to {MAX_PAGE_SIZE}; got 0.")],
        [("page_size", f"must be from 1 to {MAX_PAGE_SIZE}; got {MAX_PAGE_SIZE + 1}.")],
        [("trash", "must be true or false; got 'perhaps'.")],
        [("q", "Ensure this value has at most 200 characters (it has 201).")],
        [("state", "Select a valid choice. asleep is not one of the available choices.")],
    ]


def test_the_last_page_and_the_largest_size_there_may_be_are_answered(project: Project) -> None:
    crowd(project, 2)

    page = runs_page(project, page=MAX_PAGE, size=MAX_PAGE_SIZE)

    assert (page.rows, page.total, page.page, page.pages, page.size) == ([], 2, MAX_PAGE, 1, MAX_PAGE_SIZE)


def test_an_address_leads_to_the_nearest_page(project: Project) -> None:
    crowd(project, PAGE_SIZE + 1)

    pages = {asked: nearest_page(project, page=asked) for asked in (None, "first", "2", "3", "0", "-1")}

    assert {asked: (page.page, len(page.rows)) for asked, page in pages.items()} == {
        None: (1, PAGE_SIZE),
        "first": (1, PAGE_SIZE),
        "2": (2, 1),
        "3": (2, 1),
        "0": (2, 1),
        "-1": (2, 1),
    }
    assert {(page.pages, page.total) for page in pages.values()} == {(2, PAGE_SIZE + 1)}


def test_a_project_without_runs_has_one_empty_page(project: Project) -> None:
    for page in (nearest_page(project, page="5"), runs_page(project)):
        assert (page.rows, page.total, page.page, page.pages) == ([], 0, 1, 1)
        assert (page.tags, page.methods, page.tasks, page.metric_names) == ([], [], [], [])


def test_what_lies_in_the_trash_is_not_offered_to_filter_by(project: Project) -> None:
    kept, thrown = new_run(project, name="kept"), new_run(project, name="thrown", method="ps-kd", budget={"epochs": 1})
    Run.objects.filter(pk=kept.pk).update(tags=["kept"])
    Run.objects.filter(pk=thrown.pk).update(tags=["thrown"])
    lifecycle.trash(thrown, "otto")

    page = runs_page(project, {"trash": "true"})

    assert (names(page), page.tags, page.methods) == (["thrown"], ["kept"], ["supervised"])


def test_the_flag_of_the_trash_can_also_be_false(project: Project) -> None:
    new_run(project, name="kept")
    lifecycle.trash(new_run(project, name="thrown"), "otto")

    assert names(runs_page(project, {"trash": "false"})) == names(runs_page(project, {"trash": ""})) == ["kept"]


SEARCHES = {
    "q=%25": ["100%"],
    "q=_": ["a_b"],
    "q=stra%C3%9Fe": ["Straße"],
    "q=%09a_b%20": ["a_b"],
    f"q={'+'.join('uvwxyz')}+100%25": [],
    f"q={'one+' * 10}nowhere": ["100%"],
    f"q={'one+' * 9}nowhere": [],
    "q=%2399999999999999": [],
    "q=big": [],
    "tag=Big": ["100%"],
    "method=,supervised,": ["100%", "Straße", "a_b"],
    "tag=Big,small": [],
    "state=draft&task=digits&q=a_": ["a_b"],
    "group=": ["100%", "Straße", "a_b"],
}
"""Among them signs that a pattern of SQL would take for others, and more words than are looked at."""


def test_a_search_takes_words_as_they_are(project: Project) -> None:
    for name in ("100%", "Straße", "a_b"):
        new_run(project, name=name)
    Run.objects.filter(name="100%").update(tags=["Big"], notes="one")

    found = {query: names(runs_page(project, QueryDict(query))) for query in SEARCHES}

    assert {query: sorted(name) for query, name in found.items()} == SEARCHES


def test_a_run_is_found_by_the_beginning_of_its_id_and_by_its_methods(project: Project) -> None:
    run, other = new_run(project, name="one"), new_run(project, name="other", method="ps-kd", budget={"epochs": 1})

    assert names(runs_page(project, {"q": str(run.pk)[:13]})) == ["one"]
    assert names(runs_page(project, {"q": "PS-KD"})) == [other.name]


def test_a_row_tells_who_made_the_run_what_it_began_with_and_its_baseline(project: Project, operator: User) -> None:
    baseline = new_run(project, name="baseline")
    run = new_run(project, name="run", student=f"run:{baseline.pk}", seed=5)
    Run.objects.filter(pk=run.pk).update(created_by=operator, baseline=baseline, priority=-3)

    rows = {row.name: row for row in runs_page(project).rows}

    assert (rows["run"].created_by, rows["baseline"].created_by) == ("otto", "")
    assert (rows["run"].student, rows["baseline"].student) == (f"run:{baseline.pk}", "mlp-16")
    assert (rows["run"].baseline, rows["run"].seed, rows["run"].priority, rows["run"].method_title) == (
        baseline.pk,
        5,
        -3,
        run.method.title,
    )
