"""News at their edges: how they are written, how much is told at once, and what is told again after a reconnect."""

import json
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from engine.events import Outcome
from tests.runs import new_run, running_claim
from tests.webapp.batches import write_points
from tests.webapp.runs.history.test_curves import commit
from tests.webapp.runs.live.test_news import news_since, reported
from webapp.accounts.models import Project
from webapp.runs import lifecycle
from webapp.runs.history import points
from webapp.runs.live.news import MAX_LINES, MAX_POINTS, LiveEvent, Mark, look, mark_of
from webapp.runs.models import Evaluation, LogLine, MetricBatch, Run


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_every_mark_survives_its_way_through_the_browser_but_for_the_status(cursor: int, log: int, evaluation: int) -> None:
    mark = Mark(str(cursor), log, evaluation, status="shown")

    assert Mark.parse(str(mark)) == Mark(str(cursor), log, evaluation)


@given(st.text("07~-²٣", max_size=6) | st.text())
def test_any_text_is_some_mark(text: str) -> None:
    mark = Mark.parse(text)

    assert mark.cursor == "" or mark.cursor.isdecimal()
    assert mark.log >= 0 and mark.evaluation >= 0 and Mark.parse(str(mark)) == mark


@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner, max_size=3), max_leaves=5))
def test_whatever_an_event_tells_stands_on_one_line(value: object) -> None:
    text = LiveEvent("log", {"value": value}, Mark("3", 4, 5)).encode()

    event, mark, data = text.removesuffix("\n\n").split("\n")
    assert (event, mark) == ("event: log", "id: 3~4~5")
    assert json.loads(data.removeprefix("data: ")) == {"value": value}
    assert "\r" not in text


def test_a_number_that_json_lacks_is_an_error_and_not_sent() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        LiveEvent("points", {"value": float("nan")}, Mark()).encode()


@pytest.fixture
def run(project: Project) -> Run:
    return new_run(project)


class TestNews:
    pytestmark = [pytest.mark.servers, pytest.mark.django_db]

    def test_a_run_that_is_not_there_has_no_news(self, run: Run) -> None:
        found = look(uuid4(), [Mark()])

        assert found is None

    def test_one_look_serves_everyone_at_the_same_place_whatever_they_were_shown(self, run: Run, django_assert_num_queries: Any) -> None:
        write_points(run, (1, 3.0), (2, 2.0))
        together = [Mark("0", status=f"shown to {number}") for number in range(200)]

        with CaptureQueriesContext(connection) as alone:
            look(run.pk, together[:1])
        with django_assert_num_queries(len(alone)):
            found = look(run.pk, together)

        assert found is not None and len({id(news.messages[0]) for news in found.values()}) == 1

    def test_a_mark_of_the_page_as_it_is_has_nothing_new_but_the_status(self, run: Run) -> None:
        other = new_run(run.project)
        for one in (run, other):
            write_points(one, (1, 3.0))
            LogLine.objects.create(run=one, attempt=1, level="info", text="line")
            Evaluation.objects.create(run=one, attempt=1, step=1, subject="student", split="test", metrics={})

        news = news_since(run.pk, mark_of(run, cursor="1"))

        assert [message.event for message in news.messages] == ["status"]
        assert mark_of(new_run(run.project)) == Mark("", 0, 0)

    def test_only_the_last_lines_of_many_are_told_and_none_of_them_again(self, run: Run) -> None:
        LogLine.objects.bulk_create(LogLine(run=run, attempt=1, level="info", text=f"line-{number}-") for number in range(MAX_LINES + 2))

        first = news_since(run.pk, Mark())
        html = reported(first.messages, "log")["html"]

        assert html.count('class="log-line info"') == MAX_LINES
        assert "line-1-" not in html and html.index("line-2-") < html.index(f"line-{MAX_LINES + 1}-")
        assert "log" not in [message.event for message in news_since(run.pk, first.mark).messages]

    def test_a_long_curve_is_told_in_few_points_with_its_extremes(self, run: Run) -> None:
        commit(run, {"loss": {step: 99.0 if step == 2345 else float(step % 5) for step in range(1, 4001)}})

        steps, values = reported(news_since(run.pk, Mark()).messages, "points")["series"]["loss"]

        assert 1000 < len(steps) <= MAX_POINTS
        assert values[steps.index(2345)] == 99.0 and steps == sorted(set(steps))

    def test_evaluations_are_told_in_the_order_in_which_they_came(self, run: Run) -> None:
        for step, subject in ((9, "student"), (9, "teacher"), (3, "student")):
            last = Evaluation.objects.create(run=run, attempt=1, step=step, subject=subject, split="validation", metrics={})

        news = news_since(run.pk, Mark())

        told = reported(news.messages, "evaluation")["evaluations"]
        assert [(one["step"], one["subject"], one["split"], one["final"]) for one in told] == [
            (9, "student", "validation", False),
            (9, "teacher", "validation", False),
            (3, "student", "validation", False),
        ]
        assert news.mark.evaluation == last.pk

    def test_a_status_is_told_where_it_looks_different_and_again_to_who_comes_back(self) -> None:
        held = running_claim()
        first = news_since(held.run_id, Mark())
        quiet = news_since(held.run_id, first.mark)
        Run.objects.update(step=5)
        moved = news_since(held.run_id, first.mark)
        back = news_since(held.run_id, Mark.parse(str(moved.mark)))

        assert [[message.event for message in news.messages] for news in (first, quiet, moved, back)] == [
            ["status"],
            [],
            ["status"],
            ["status"],
        ]
        assert "step 5 of 20" in reported(moved.messages, "status")["html"]

    def test_a_run_that_has_ended_says_so_with_its_last_word(self) -> None:
        held = running_claim()
        before = news_since(held.run_id, Mark())
        lifecycle.settle(held.token, Outcome("failed", 3, "<b>nan</b>"))

        news = news_since(held.run_id, before.mark)

        status = reported(news.messages, "status")
        assert (before.ended, news.ended, status["state"], status["word"]) == (False, True, "failed", "failed")
        assert "&lt;b&gt;nan&lt;/b&gt;" in status["html"]

    def test_a_cut_with_nothing_after_it_is_news_and_a_batch_of_lines_alone_is_none(self, run: Run) -> None:
        write_points(run, (1, 3.0), (2, 2.0))
        seen = news_since(run.pk, Mark()).mark
        MetricBatch.objects.create(run=run, number=2, attempt=1)
        lines_alone = news_since(run.pk, seen)
        points.cut(run.pk, after=1, attempt=2)
        cut = news_since(run.pk, seen)

        assert lines_alone.messages == []
        assert reported(cut.messages, "points") == {"series": {}, "cut_after": 1}
        assert (cut.mark.cursor, news_since(run.pk, cut.mark).messages) == ("3", [])
