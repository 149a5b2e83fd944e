"""The table's page and the trash: what they show of hostile names, long lists, and to whom."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.runs import new_project, new_run
from tests.webapp.conftest import RunMaker
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import Project, User
from webapp.runs import lifecycle
from webapp.runs.models import Run
from webapp.runs.table.rows import PAGE_SIZE

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

HOSTILE = "<img src=x onerror=alert(1)>\"'&"


def table_of(person: User, **parameters: Any) -> str:
    return text_of(as_(person).get(reverse("runs", args=["distillery"]), parameters))


def trash_of(person: User, **parameters: Any) -> str:
    return text_of(as_(person).get(reverse("trash", args=["distillery"]), parameters))


def link(page: str, rel: str) -> dict[str, list[str]]:
    """The parameters of the link to the page's neighbor."""
    before, found, _ = page.partition(f'rel="{rel}"')
    address = before.rpartition('href="')[2].partition('"')[0].replace("&amp;", "&")
    return parse_qs(urlsplit(address).query) if found else {}


def crowd(project: Project, count: int, **about: Any) -> None:
    first = Run.objects.count() + 1
    Run.objects.bulk_create(
        Run(project=project, number=number, name=f"run-{number:03}-", method_id="supervised", task_id="digits", spec={}, seed=0, **about)
        for number in range(first, first + count)
    )


def test_names_and_tags_are_text_wherever_they_stand(project: Project, viewer: User) -> None:
    new_run(project, name=f"{HOSTILE} name")
    Run.objects.update(tags=[f"{HOSTILE} tag"], state="failed", finished_at=timezone.now(), reason=f"{HOSTILE} reason")

    page = table_of(viewer, columns="tags,by,student", q=HOSTILE)

    assert "<img src=x" not in page
    assert page.count("&lt;img src=x") >= 6
    assert "?tag=%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E%22%27%26%20tag" in page


def test_the_neighbors_of_a_page_keep_its_filters_and_its_order(project: Project, viewer: User) -> None:
    crowd(project, 2 * PAGE_SIZE + 1)

    pages = {number: table_of(viewer, q="run-", state="draft", sort="name", page=number, remember="1") for number in (1, 2, 3)}

    kept = {"q": ["run-"], "state": ["draft"], "sort": ["name"]}
    assert (link(pages[1], "prev"), link(pages[1], "next")) == ({}, {**kept, "page": ["2"]})
    assert (link(pages[2], "prev"), link(pages[2], "next")) == ({**kept, "page": ["1"]}, {**kept, "page": ["3"]})
    assert (link(pages[3], "prev"), link(pages[3], "next")) == ({**kept, "page": ["2"]}, {})
    assert "Page 2 of 3" in pages[2] and "101 runs found" in pages[2]
    assert "run-050-" in pages[1] and "run-051-" not in pages[1] and "run-101-" in pages[3]


def test_a_head_of_a_column_sorts_from_the_first_page_on_and_keeps_the_filters(finished_run: RunMaker, viewer: User) -> None:
    finished_run(name="one")

    page = table_of(viewer, q="one", page="1", columns="nll", sort="nll")

    assert 'href="?q=one&amp;columns=nll&amp;sort=-nll"' in page
    assert 'aria-sort="ascending"' in page


def test_what_was_chosen_is_in_the_form_and_goes_on_with_a_choice_of_columns(finished_run: RunMaker, viewer: User) -> None:
    run = finished_run(name="one")
    Run.objects.filter(pk=run.pk).update(tags=["warm"])

    page = table_of(viewer, q="one", state="succeeded", method="supervised", task="digits", tag="warm", group=run.config_hash, sort="name")

    for chosen in ("succeeded", "supervised", "digits", "warm"):
        assert f"<option selected>{chosen}</option>" in page
    for name, value in {"q": "one", "state": "succeeded", "tag": "warm", "group": run.config_hash, "sort": "name"}.items():
        assert f'<input type="hidden" name="{name}" value="{value}">' in page.partition("columns-menu")[2]
    assert 'name="q" value="one" placeholder' in page and "one group of seeds" in page and "1 run found" in page


def test_a_filter_that_makes_no_sense_is_explained_and_everything_shown(finished_run: RunMaker, viewer: User) -> None:
    finished_run(name="still here")

    page = table_of(viewer, state=HOSTILE, q="nowhere")

    assert "Select a valid choice." in page and "still here" in page and "<img src=x" not in page


def test_each_cell_shows_its_column(project: Project, operator: User, viewer: User) -> None:
    run = new_run(project, student=f"run:{new_run(project, name='origin').pk}", seed=7)
    Run.objects.filter(pk=run.pk).update(priority=-5, created_by=operator, train_seconds=90.0, tags=["warm"])

    page = table_of(viewer, q=run.name, columns="method,task,student,seed,created,seconds,by,tags,priority,nll")

    row = page.partition("<tbody>")[2].partition("</tbody>")[0]
    cells = [cell.rpartition(">")[2] for cell in row.split("</td>")]
    assert f'<td class="nowrap" title="{run.method.title}">supervised</td>' in row
    assert f'title="run:{run.spec["student"]["name"]}">run:{run.spec["student"]["name"][:8]}…</td>' in row
    assert {"digits", "7", "just now", "1 min 30 s", "otto", "-5"} <= set(cells)
    assert '<a class="tag" href="/p/distillery/?tag=warm">warm</a>' in row
    assert f'<span id="value-{run.pk}-nll">–</span>' in row


@pytest.mark.parametrize(
    ("about", "shown"),
    [
        ({"state": "running", "attempt": 1, "step": 5, "steps_per_second": 0.5}, ["25 %", "30 s left", 'value="25.0"']),
        ({"state": "starting", "attempt": 1}, ["0 %", 'value="0.0"']),
        ({"state": "failed", "finished_at": timezone.now(), "reason": "r" * 80}, [f'title="{"r" * 80}"', ">" + "r" * 59 + "…"]),
    ],
)
def test_a_state_is_told_with_what_one_wants_to_know_of_it(project: Project, viewer: User, about: dict[str, Any], shown: list[str]) -> None:
    new_run(project)
    Run.objects.update(**about)

    page = table_of(viewer)

    assert all(part in page for part in shown)
    assert ("left" in page.partition("<tbody>")[2].partition("</tbody>")[0]) == (about["state"] == "running")


def test_an_empty_project_tells_a_viewer_whom_to_ask(project: Project, viewer: User) -> None:
    page = table_of(viewer)

    assert "An operator of this project can launch the first one." in page and "Train the default teacher" not in page
    assert 'id="filters"' not in page


def test_the_trash_is_shown_in_pages_of_what_is_in_it(project: Project, operator: User) -> None:
    new_run(project, name="kept")
    crowd(project, PAGE_SIZE + 1, state="stopped", finished_at=timezone.now(), deleted_at=timezone.now())

    first, second = trash_of(operator), trash_of(operator, page="2")

    assert first.count(">Restore</button>") == PAGE_SIZE and second.count(">Restore</button>") == 1
    assert link(first, "next") == {"page": ["2"]} and link(second, "next") == {}
    assert "kept" not in first + second


def test_only_who_may_operate_can_restore(project: Project, operator: User, viewer: User) -> None:
    lifecycle.trash(new_run(project, name=f"{HOSTILE} gone"), "otto")

    mine, theirs = trash_of(operator), trash_of(viewer)

    assert "Restore</button>" in mine and "Restore</button>" not in theirs
    assert "<img src=x" not in mine and "gone" in theirs


def test_the_trash_of_another_project_is_not_looked_into(project: Project, operator: User) -> None:
    lifecycle.trash(new_run(new_project("elsewhere"), name="theirs"), "stan")

    answer = as_(operator).get(reverse("trash", args=["elsewhere"]))

    assert answer.status_code == 404
    assert "The trash is empty" in trash_of(operator)
