"""An open table over a real web server: what it hears, and what it does not ask."""

from typing import Any

import httpx
import pytest
from django.urls import reverse

from engine.events import Outcome
from tests.runs import queued_run, running_claim
from tests.waiting import wait_for
from tests.webapp.conftest import RunMaker
from tests.webapp.runs.live.conftest import OpenPage, Web
from webapp.accounts.models import Project, User
from webapp.runs import lifecycle
from webapp.runs.models import Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]


def open_table(web: Web, browser: httpx.Client, *runs: Run, newest: int | None = None) -> OpenPage:
    query = {"runs": ",".join(str(run.pk) for run in runs)} | ({} if newest is None else {"newest": str(newest)})
    return web.open(browser, f"{reverse('runs-events', args=['distillery'])}?{httpx.QueryParams(query)}")


def test_a_table_hears_of_a_change_of_one_row_and_of_no_other(finished_run: RunMaker, viewer: User, operator: User, web: Web) -> None:
    still, held = finished_run(), running_claim()
    changing = Run.objects.get(pk=held.run_id)
    table = open_table(web, web.browser(viewer), changing, still)
    at_first = table.wait_for("rows")[0]["rows"]
    lifecycle.request_stop(changing, operator)
    wait_for(lambda: told_of(table, changing, "stopping"), what="the table to hear of the stop")  # by then the server hears rings

    lifecycle.settle(held.token, Outcome("stopped", 3, "Stopped."))
    rows = wait_for(lambda: told_of(table, changing, "stopped"), what="the table to hear of the end")

    assert at_first.keys() == {str(changing.pk), str(still.pk)}
    assert at_first[str(still.pk)]["values"]["accuracy"] == "0.9000"
    assert rows.keys() == {str(changing.pk)}
    assert "badge stopped" in rows[str(changing.pk)]["state"]


def told_of(table: OpenPage, run: Run, word: str) -> Any:
    """The rows of the first event in which the run has this word."""
    return next((data["rows"] for data in table.heard("rows") if data["rows"].get(str(run.pk), {}).get("word") == word), None)


def test_a_table_hears_of_a_launch_now_or_before_it_came(finished_run: RunMaker, viewer: User, project: Project, web: Web) -> None:
    run = finished_run()
    browser = web.browser(viewer)
    old, young = open_table(web, browser, run, newest=run.number - 1), open_table(web, browser, run, newest=run.number)
    young.wait_for("rows")
    before = list(young.heard("changed"))

    queued_run(project)

    assert old.wait_for("changed") == [{}]
    assert (before, young.wait_for("changed")) == ([], [{}])


def test_a_table_is_told_nothing_of_runs_of_another_project(
    finished_run: RunMaker, elsewhere: Project, stranger: User, viewer: User, web: Web
) -> None:
    mine, foreign = finished_run(), finished_run(of=elsewhere)

    table = open_table(web, web.browser(viewer), mine, foreign)
    (told,) = table.wait_for("rows")

    assert told["rows"].keys() == {str(mine.pk)}


def test_the_page_says_where_news_come_from_and_asks_for_nothing_by_the_clock(running_run: RunMaker, viewer: User, web: Web) -> None:
    run = running_run()

    page = web.browser(viewer).get(reverse("runs", args=["distillery"])).text

    assert f'data-events="{reverse("runs-events", args=["distillery"])}"' in page and f'data-newest="{run.number}"' in page
    assert f'id="state-{run.pk}"' in page and "every " not in page
