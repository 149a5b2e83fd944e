"""What happened to a run, and what it has left."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.runs import new_run
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import Project, User
from webapp.runs.models import Artifact, Attempt, HistoryLine, Run
from webapp.runs.page.activity import MOST_HISTORY, artifacts_of, attempts_of, history_of

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


@pytest.fixture
def run(project: Project) -> Run:
    return new_run(project)


def left(run: Run, attempt: int, name: str, size: int = 1, **about: str) -> Artifact:
    about = {"kind": "table", "path": f"{attempt}/{name}"} | about
    return Artifact.objects.create(run=run, attempt=attempt, name=name, bytes=size, sha256="0" * 64, **about)


def test_attempts_come_newest_first_and_a_loss_has_the_color_of_a_failure(run: Run) -> None:
    for number, exit_word in enumerate(("crashed", "lost", "stopped", "failed", "succeeded", ""), start=1):
        Attempt.objects.create(run=run, number=number, worker="worker-1", exit=exit_word)

    found = attempts_of(run)

    assert [(row.number, row.exit, row.tone) for row in found] == [
        (6, "", ""),
        (5, "succeeded", "succeeded"),
        (4, "failed", "failed"),
        (3, "stopped", "stopped"),
        (2, "lost", "failed"),
        (1, "crashed", "failed"),
    ]


def test_an_attempt_that_has_ended_lasts_no_longer(run: Run) -> None:
    start = timezone.now() - timedelta(hours=5)
    Attempt.objects.create(run=run, number=1, worker="w", started_at=start, ended_at=start + timedelta(seconds=90), exit="crashed")
    Attempt.objects.create(run=run, number=2, worker="w", started_at=start)

    goes_on, ended = attempts_of(run)

    assert ended.seconds == 90
    assert goes_on.seconds >= 5 * 3600


def test_of_each_name_the_newest_attempts_artifact_counts(run: Run, project: Project) -> None:
    left(run, 2, "student", 22), left(run, 10, "student", 1010), left(run, 1, "curves"), left(run, 3, "also")
    left(new_run(project), 11, "student")

    found = artifacts_of(run)

    assert [(one.name, one.attempt) for one in found] == [("also", 3), ("curves", 1), ("student", 10)]


def test_history_is_told_newest_first_and_not_without_end(run: Run) -> None:
    HistoryLine.objects.bulk_create(
        HistoryLine(run=run, who="ann", after="queued", reason=f"line {number}") for number in range(MOST_HISTORY + 5)
    )

    found = history_of(run)

    assert (len(found), found[0].reason, found[-1].reason) == (MOST_HISTORY, f"line {MOST_HISTORY + 4}", "line 5")


def test_the_part_of_the_page_tells_all_of_it_and_shows_what_a_child_said_as_text(run: Run, viewer: User) -> None:
    hostile = "<script>alert(1)</script>"
    about = {"worker": hostile, "device": hostile, "reason": hostile, "last_lines": hostile}
    Attempt.objects.create(run=run, number=1, exit="crashed", pid=77, from_step=12_345, **about)
    HistoryLine.objects.create(run=run, who=hostile, before="running", after="queued", reason=hostile)
    HistoryLine.objects.create(run=run, who="ann", before="queued", after="queued", reason="Priority 0 → 5.")
    left(run, 1, hostile, 123_456, kind="<b>kind</b>")

    page = text_of(as_(viewer).get(reverse("run-status", args=[run.pk]), {"part": "activity"}))

    assert hostile not in page and "<b>kind" not in page and page.count("&lt;script&gt;alert(1)") >= 8
    assert '<span class="badge failed">crashed</span>' in page and "pid 77" in page and "12,345" in page
    assert "running → queued" in page and "queued → queued" not in page
    assert "120.6\N{NO-BREAK SPACE}KB" in page


@pytest.mark.parametrize(
    ("silent", "badge"), [(False, '<span class="badge running">goes on</span>'), (True, '<span class="badge silent">silent</span>')]
)
def test_an_attempt_under_way_goes_on_or_is_silent(run: Run, viewer: User, silent: bool, badge: str) -> None:
    Attempt.objects.create(run=run, number=1, worker="w", silent_since=timezone.now() if silent else None)

    assert badge in text_of(as_(viewer).get(reverse("run-status", args=[run.pk]), {"part": "activity"}))


def test_a_run_that_no_worker_has_taken_says_so(run: Run, viewer: User) -> None:
    page = text_of(as_(viewer).get(reverse("run-status", args=[run.pk]), {"part": "activity"}))

    assert "No worker has taken this run yet." in page and "Models and tables that the run leaves appear here." in page
    assert "Nothing yet." in page
