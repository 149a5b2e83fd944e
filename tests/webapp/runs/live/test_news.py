"""What a live page is reported, and from where it goes on."""

from typing import Any
from uuid import UUID

import pytest

from tests.webapp.batches import write_points
from tests.webapp.conftest import RunMaker
from webapp.runs.live.news import LiveEvent, Mark, News, look
from webapp.runs.models import LogLine, MetricBatch


def news_since(run_id: UUID, mark: Mark) -> News:
    """What one reader hears."""
    found = look(run_id, [mark])
    assert found is not None
    return found[mark]


def reported(messages: list[LiveEvent], event: str) -> Any:
    """The data of the one message of a kind."""
    (data,) = [message.data for message in messages if message.event == event]
    return data


def test_a_mark_survives_its_way_through_the_browser() -> None:
    mark = Mark("12", 345, 6)

    assert Mark.parse(str(mark)) == mark


@pytest.mark.parametrize("text", ["", "~~", "x~y~z", "-1~-2~-3", "12" * 20, "1.5", "1'; DROP TABLE runs_run; --~2"])
def test_a_malformed_mark_counts_as_nothing_seen(text: str) -> None:
    assert Mark.parse(text) in (Mark(), Mark("", 2, 0))


@pytest.mark.servers
def test_news_are_told_once(running_run: RunMaker) -> None:
    run = running_run()
    write_points(run, (1, 3.0), (2, float("inf")))
    LogLine.objects.create(run=run, attempt=1, level="warning", text="<b>careful</b>")

    first = news_since(run.pk, Mark())
    second = news_since(run.pk, first.mark)

    assert reported(first.messages, "points") == {"series": {"loss": [[1, 2], [3.0, None]]}, "cut_after": None}
    assert "&lt;b&gt;careful&lt;/b&gt;" in reported(first.messages, "log")["html"]
    assert reported(first.messages, "status")["state"] == "running"
    assert second.messages == [] and second.ended is False


@pytest.mark.servers
def test_only_what_was_written_since_is_told(running_run: RunMaker) -> None:
    run = running_run()
    write_points(run, (1, 3.0), (2, 2.0))
    mark = news_since(run.pk, Mark()).mark
    write_points(run, (3, 1.0))

    news = news_since(run.pk, mark)

    assert reported(news.messages, "points")["series"] == {"loss": [[3], [1.0]]}


@pytest.mark.servers
def test_a_cut_is_told_with_its_step(running_run: RunMaker) -> None:
    run = running_run()
    write_points(run, (1, 3.0), (2, 2.0))
    mark = news_since(run.pk, Mark()).mark
    MetricBatch.objects.create(run=run, number=2, attempt=2, cut_after=1)

    news = news_since(run.pk, mark)

    assert reported(news.messages, "points")["cut_after"] == 1
