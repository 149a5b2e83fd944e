"""The live page's stream, over a real web server: from where it goes on, what ends it, and what it survives."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from django.contrib.sessions.models import Session
from django.urls import reverse
from django.utils import timezone

from tests.webapp.batches import write_points
from tests.webapp.conftest import RunMaker
from tests.webapp.runs.live.conftest import Web, session_key
from webapp.accounts.models import Membership, User
from webapp.runs import lifecycle
from webapp.runs.models import Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]


def events_of(run: Run) -> str:
    return reverse("run-events", args=[run.pk])


def test_a_stream_ends_with_the_run_after_everything_was_told(finished_run: RunMaker, viewer: User, web: Web) -> None:
    run = finished_run()
    write_points(run, (1, 3.0))

    page = web.open(web.browser(viewer), events_of(run))
    page.wait_for_its_end()

    assert [event for event, _, _ in page.events] == ["points", "evaluation", "status", "end"]
    assert page.answer.headers["Content-Type"] == "text/event-stream" and page.answer.headers["Cache-Control"] == "no-store"


def test_a_reader_who_comes_back_hears_only_what_was_missed(finished_run: RunMaker, viewer: User, web: Web) -> None:
    run = finished_run()
    write_points(run, (1, 3.0))
    browser = web.browser(viewer)
    first = web.open(browser, events_of(run))
    first.wait_for_its_end()
    write_points(run, (2, 2.0))

    again = web.open(browser, f"{events_of(run)}?after={first.events[-1][1]}")
    again.wait_for_its_end()

    assert [event for event, _, _ in again.events] == ["points", "status", "end"]
    assert again.heard("points")[0]["series"] == {"loss": [[2], [2.0]]}


def test_the_browsers_last_event_id_counts_more_than_the_address(finished_run: RunMaker, viewer: User, web: Web) -> None:
    run = finished_run()
    write_points(run, (1, 3.0))
    mark = f"1~0~{run.evaluations.get().pk}"

    page = web.open(web.browser(viewer), f"{events_of(run)}?after=0~0~0", **{"Last-Event-ID": mark})
    page.wait_for_its_end()

    assert [event for event, _, _ in page.events] == ["status", "end"]


def test_news_and_a_stop_are_told_to_a_page_that_is_open(running_run: RunMaker, viewer: User, operator: User, web: Web) -> None:
    run = running_run()
    page = web.open(web.browser(viewer), events_of(run))
    page.wait_for("status")

    write_points(run, (1, 3.0))
    lifecycle.request_stop(run, operator)

    assert page.wait_for("points")[0]["series"] == {"loss": [[1], [3.0]]}
    assert page.wait_for("status", 2)[-1]["word"] == "stopping"
    assert not page.ended.is_set()


def test_without_redis_the_stream_still_brings_everything(running_run: RunMaker, viewer: User, process_environment: dict[str, str]) -> None:
    run = running_run()
    with Web(process_environment | {"REDIS_URL": "redis://127.0.0.1:1/0"}, "without-redis") as web:  # nobody listens there
        browser = web.browser(viewer)
        page, table = web.open(browser, events_of(run)), web.open(browser, f"{reverse('runs-events', args=['distillery'])}?runs={run.pk}")
        page.wait_for("status")
        table.wait_for("rows")

        write_points(run, (1, 3.0))
        Run.objects.update(stop_requested_at=timezone.now())

        assert page.wait_for("points")[0]["series"] == {"loss": [[1], [3.0]]}
        assert table.wait_for("rows", 2)[-1]["rows"][str(run.pk)]["word"] == "stopping" or table.wait_for("rows", 3)


def leave(viewer: User, key: str) -> None:
    Membership.objects.filter(user=viewer).delete()


def sign_out(viewer: User, key: str) -> None:
    Session.objects.filter(session_key=key).delete()


def expire(viewer: User, key: str) -> None:
    Session.objects.filter(session_key=key).update(expire_date=timezone.now())


def be_deactivated(viewer: User, key: str) -> None:
    User.objects.filter(pk=viewer.pk).update(is_active=False)


def change_password(viewer: User, key: str) -> None:
    User.objects.filter(pk=viewer.pk).update(password="another")


@pytest.mark.parametrize("deed", [leave, sign_out, expire, be_deactivated, change_password])
def test_who_may_not_listen_any_more_hears_nothing_more_of_a_run_or_a_table(
    deed: Callable[[User, str], None], running_run: RunMaker, viewer: User, operator: User, web: Web
) -> None:
    run = running_run()
    table_of_it = f"{reverse('runs-events', args=['distillery'])}?runs={run.pk}"
    browser, other = web.browser(viewer), web.browser(operator)
    page, table, stays = web.open(browser, events_of(run)), web.open(browser, table_of_it), web.open(other, events_of(run))
    page.wait_for("status")
    table.wait_for("rows")

    deed(viewer, session_key(browser))
    page.wait_for_its_end()
    table.wait_for_its_end()
    write_points(run, (1, 3.0))

    stays.wait_for("points")
    assert page.heard("points") == [] and page.heard("end") == []
    assert browser.get(events_of(run)).status_code in {401, 404}


def test_the_stream_of_a_run_that_is_gone_ends(running_run: RunMaker, viewer: User, web: Web) -> None:
    run = running_run()
    page = web.open(web.browser(viewer), events_of(run))
    page.wait_for("status")

    Run.objects.filter(pk=run.pk).delete()
    page.wait_for_its_end()

    assert page.heard("end") == []


@pytest.mark.parametrize(("who", "status"), [("stranger", 404), ("nobody", 401)])
def test_who_may_not_see_a_project_gets_no_stream_of_it(
    who: str, status: int, running_run: RunMaker, stranger: User, viewer: User, web: Web
) -> None:
    run = running_run()
    browser = web.browser(stranger if who == "stranger" else None)

    answers = [browser.get(address) for address in (events_of(run), reverse("runs-events", args=["distillery"]))]

    assert [answer.status_code for answer in answers] == [status, status]
    assert web.browser(viewer).get(reverse("run-events", args=[uuid4()])).status_code == 404


@pytest.mark.parametrize(
    ("runs", "sentence"),
    [
        ("12,13", "runs must be ids of runs, with commas between them."),
        (",".join([str(uuid4())] * 201), "runs must be at most 200 ids; got 201."),
    ],
)
def test_a_table_of_no_runs_is_refused_with_a_sentence(runs: str, sentence: str, viewer: User, web: Web) -> None:
    answer = web.browser(viewer).get(reverse("runs-events", args=["distillery"]), params={"runs": runs})

    assert (answer.status_code, answer.text) == (400, sentence)
