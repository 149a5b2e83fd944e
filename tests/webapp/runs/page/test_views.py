"""The page of one run: its parts, its log, its buttons and what they answer."""

from typing import Any

import pytest
from django.urls import reverse

from engine.events import Outcome
from tests.runs import new_project, new_run, queued_run, running_claim
from tests.webapp.conftest import RunMaker
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import AuditEntry, Project, User
from webapp.catalog.models import ModelRecord
from webapp.runs import lifecycle
from webapp.runs.models import Artifact, Attempt, Evaluation, HistoryLine, LogLine, Run, State
from webapp.runs.page.views import LOG_LINES

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

HOSTILE = "<img src=x onerror=alert(1)>\"'&"


def page_of(run: Run, person: User) -> str:
    return text_of(as_(person).get(reverse("run-detail", args=[run.pk])))


def pressed(run: Run, person: User, button: str, /, **fields: str) -> str:
    """The page that follows a button."""
    return text_of(as_(person).post(reverse(button, args=[run.pk]), fields, follow=True))


def stopped_run(project: Project, checkpoint: int = 0) -> Run:
    run = lifecycle.request_stop(queued_run(project), "otto")
    if checkpoint:
        Run.objects.filter(pk=run.pk).update(checkpoint_step=checkpoint, checkpoint_path="somewhere")
    return run


PARTS = {
    "header": ('class="run-title"', "evaluation-title"),
    "evaluations": ("evaluation-title", 'class="run-title"'),
    "activity": ("attempts-title", 'class="run-title"'),
    "": ('class="run-title"', "attempts-title"),
    "unheard-of": ('class="run-title"', "attempts-title"),
}
"""Each part of the page, what it holds, and what it does not."""


def test_a_part_of_the_page_comes_alone(finished_run: RunMaker, viewer: User) -> None:
    address, client = reverse("run-status", args=[finished_run().pk]), as_(viewer)

    for part, (there, absent) in PARTS.items():
        page = text_of(client.get(address, {"part": part}))
        assert there in page and absent not in page and "<html" not in page, part


def test_the_log_shows_its_last_lines_in_their_order_and_as_text(project: Project, viewer: User) -> None:
    run = new_run(project)
    LogLine.objects.bulk_create(
        LogLine(run=run, attempt=1, level="info", text=f"{HOSTILE} line-{number}-") for number in range(LOG_LINES + 2)
    )

    page = page_of(run, viewer)

    assert page.count('class="log-line info"') == LOG_LINES
    assert "line-1-" not in page and page.index("line-2-") < page.index(f"line-{LOG_LINES + 1}-")
    assert HOSTILE not in page


def test_what_people_typed_is_shown_as_text(project: Project, operator: User) -> None:
    run = new_run(project, name=f"{HOSTILE} name")
    Run.objects.filter(pk=run.pk).update(notes=f"{HOSTILE}\nsecond line", tags=[f"{HOSTILE} tag", "a/b?c=d&e"])

    page = page_of(run, operator)

    assert "<img src=x" not in page
    assert "second line</p>" in page and "<br>second line" in page
    assert "?tag=a/b%3Fc%3Dd%26e" in page


def test_a_page_of_a_run_with_more_to_show_asks_the_database_as_often(
    project: Project, finished_run: RunMaker, viewer: User, django_assert_max_num_queries: Any
) -> None:
    teachers = [finished_run(name=f"teacher {number}") for number in range(3)]
    run, client = finished_run(), as_(viewer)
    address = reverse("run-detail", args=[run.pk])
    client.get(address)
    with django_assert_max_num_queries(40) as before:
        client.get(address)
    run.teachers.set(ModelRecord.objects.filter(run__in=teachers))
    for number in range(2, 6):
        Attempt.objects.create(run=run, number=number, worker="w")
        Evaluation.objects.create(run=run, attempt=1, step=number, subject="student", split="validation", metrics={"nll": 1.0})
        Artifact.objects.create(run=run, attempt=1, name=f"other {number}", kind="other", path="x", bytes=1, sha256="0" * 64)
        HistoryLine.objects.create(run=run, who="w", after="running")
        LogLine.objects.create(run=run, attempt=1, level="info", text="line")

    with django_assert_max_num_queries(len(before)):
        client.get(address)


@pytest.mark.parametrize(
    ("name", "checkpoint", "sentence", "state"),
    [
        ("run-resume", 10, "Queued again; it goes on from its last checkpoint.", State.QUEUED),
        ("run-retry", 10, "Queued again, from the start.", State.QUEUED),
        ("run-delete", 0, "Moved to the trash.", State.STOPPED),
    ],
)
def test_a_button_says_what_it_has_done(project: Project, operator: User, name: str, checkpoint: int, sentence: str, state: State) -> None:
    run = stopped_run(project, checkpoint)

    page = pressed(run, operator, name)

    assert sentence in page.partition('class="notice success"')[2].partition("</div>")[0]
    assert Run.objects.get(pk=run.pk).state == state


def test_after_a_deletion_one_is_at_the_table_and_after_a_restoration_at_the_run(project: Project, operator: User) -> None:
    run, client = stopped_run(project), as_(operator)

    deleted = client.post(reverse("run-delete", args=[run.pk]))
    restored = client.post(reverse("run-restore", args=[run.pk]))

    assert (deleted["Location"], restored["Location"]) == (reverse("runs", args=["distillery"]), reverse("run-detail", args=[run.pk]))


def test_a_button_that_comes_too_late_says_why_and_changes_nothing(project: Project, operator: User) -> None:
    run = queued_run(project)

    for name, sentence in {
        "run-resume": "The run is queued, so it can&#x27;t be resumed.",
        "run-retry": "The run is queued, so it can&#x27;t be retried.",
        "run-restore": "The run is not in the trash.",
    }.items():
        assert sentence in pressed(run, operator, name).partition('class="notice error"')[2].partition("</div>")[0]

    assert not AuditEntry.objects.exists()
    assert HistoryLine.objects.filter(run=run).count() == 1


DEEDS = ("run-stop", "run-resume", "run-retry", "run-delete", "run-restore", "run-edit")


def test_following_a_link_changes_nothing(project: Project, operator: User) -> None:
    run, client = queued_run(project), as_(operator)

    answers = [client.get(reverse(name, args=[run.pk])).status_code for name in DEEDS]

    assert answers == [405] * len(DEEDS)
    assert Run.objects.get(pk=run.pk).state == State.QUEUED


def test_a_run_of_another_project_is_not_there_to_be_changed(elsewhere: Project, operator: User) -> None:
    run, client = queued_run(elsewhere, name="theirs"), as_(operator)

    answers = [client.post(reverse(name, args=[run.pk]), {"name": "ours"}).status_code for name in DEEDS]

    assert answers == [404] * len(DEEDS)
    run.refresh_from_db()
    assert (run.name, run.state, run.deleted_at) == ("theirs", State.QUEUED, None)


def test_the_dialog_changes_all_that_it_shows(project: Project, operator: User) -> None:
    run = new_run(project)

    page = pressed(run, operator, "run-edit", name=" new ", tags=" b ,, a,b ", notes="  indented\n", priority="-5")

    run.refresh_from_db()
    assert "Saved." in page
    assert (run.name, run.tags, run.notes, run.priority) == ("new", ["b", "a"], "  indented\n", -5)


def test_a_dialog_that_was_refused_names_every_field(project: Project, operator: User) -> None:
    run = new_run(project, name="before")

    page = pressed(run, operator, "run-edit", name="n" * 201, tags="t" * 61, notes="", priority="")

    assert "name: must have at most 200 characters; got 201." in page and "tags.0: must have at most 60 characters; got 61." in page
    assert Run.objects.get(pk=run.pk).name == "before"


def test_a_run_in_the_trash_says_so_and_offers_nothing_but_to_come_back(project: Project, operator: User, viewer: User) -> None:
    run = lifecycle.trash(stopped_run(project, 10), "otto")

    mine, theirs = page_of(run, operator), page_of(run, viewer)

    restore = f'action="{reverse("run-restore", args=[run.pk])}"'
    assert "This run is in the trash since " in mine and "It can be restored." in mine and restore in mine
    assert "This run is in the trash since " in theirs and "It can be restored." not in theirs and restore not in theirs
    assert reverse("run-resume", args=[run.pk]) not in mine and reverse("run-delete", args=[run.pk]) not in mine


def test_a_viewer_has_no_dialog_to_edit_with(project: Project, operator: User, viewer: User) -> None:
    run = new_run(project)

    assert 'id="edit-run"' in page_of(run, operator)
    assert 'id="edit-run"' not in page_of(run, viewer)


def test_a_run_that_failed_before_it_was_judged_says_so(viewer: User) -> None:
    held = running_claim()
    lifecycle.settle(held.token, Outcome("failed", 3, f"{HOSTILE} became nan."))

    page = page_of(Run.objects.get(), viewer)

    assert "This run ended before it was evaluated." in page and "This run left no curves." in page
    assert "<img src=x" not in page and "became nan." in page


def test_the_baseline_is_linked_and_offered_as_a_comparison(finished_run: RunMaker, operator: User) -> None:
    baseline, run = finished_run(), finished_run()
    Run.objects.filter(pk=run.pk).update(baseline=baseline)

    page = page_of(run, operator)

    compare = f"{reverse('compare', args=['distillery'])}?runs={run.pk},{baseline.pk}&amp;baseline={baseline.pk}"
    assert compare in page and 'data-baseline="yes"' in page
    assert "Compare with baseline" not in page_of(baseline, operator)


def test_a_run_whose_creator_has_gone_is_still_shown(project: Project, operator: User, viewer: User) -> None:
    run = new_run(project)
    Run.objects.filter(pk=run.pk).update(created_by=operator)
    assert "otto, <time" in page_of(run, viewer)

    operator.delete()

    assert "otto, <time" not in page_of(run, viewer) and run.name in page_of(run, viewer)


def test_a_start_in_another_project_is_told_by_its_id_alone(project: Project, finished_run: RunMaker, viewer: User) -> None:
    theirs = finished_run(name="their secret", of=new_project("elsewhere"))
    run = new_run(project, student=f"run:{theirs.pk}")

    page = page_of(run, viewer)

    assert f"<strong>run:{theirs.pk}</strong>" in page and "their secret" not in page
