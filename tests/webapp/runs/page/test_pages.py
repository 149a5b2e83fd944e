"""The page of one run."""

import re

import pytest
from django.urls import reverse

from tests.webapp.conftest import METRICS, RunMaker
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import User
from webapp.catalog.models import ModelRecord
from webapp.runs.models import MetricPoint, MetricSeries, Run
from webapp.runs.templatetags.shown import metric, signed

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def test_a_name_is_text_and_nothing_else(finished_run: RunMaker, viewer: User) -> None:
    run = finished_run(name="<script>alert(1)</script>")

    page = text_of(as_(viewer).get(reverse("run-detail", args=[run.pk])))

    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page


def test_the_student_stands_beside_its_teacher(finished_run: RunMaker, viewer: User) -> None:
    run = finished_run(metrics=METRICS, teacher_metrics=METRICS | {"accuracy": 0.95})

    page = text_of(as_(viewer).get(reverse("run-detail", args=[run.pk])))

    assert "0.9000" in page and "0.9500" in page and "−0.0500" in page


def test_a_student_that_goes_on_from_another_run_names_it(finished_run: RunMaker, viewer: User) -> None:
    first = finished_run(name="first of two")
    second = finished_run(name="second of two", student=f"run:{first.pk}")

    page = text_of(as_(viewer).get(reverse("run-detail", args=[second.pk])))

    link = f'<a href="{reverse("run-detail", args=[first.pk])}">first of two</a>'
    assert f"student from {link}" in page
    assert f"<dt>Student</dt><dd>{link}</dd>" in page


def test_bins_of_few_examples_that_carry_the_error_are_warned_of(finished_run: RunMaker, viewer: User) -> None:
    # 2 of 100 examples, 0.5 away: they carry 0.01 of an ECE of 0.05, a fifth.
    bins = [
        {"low": 0.0, "high": 0.5, "count": 2, "conf": 0.4, "acc": 0.9},
        {"low": 0.5, "high": 1.0, "count": 98, "conf": 0.9, "acc": 0.86},
    ]
    run = finished_run(tables={"reliability": {"n": 100, "n_bins": 2, "split": "test", "temperature": 1.0, "bins": bins}})

    page = text_of(as_(viewer).get(reverse("run-detail", args=[run.pk])))

    assert "1 bin with fewer than 10 examples carries more than 5 % of the ECE" in page


def test_a_silent_run_is_shown_as_one(running_run: RunMaker, viewer: User) -> None:
    run = running_run()
    run.attempts.update(silent_since=run.created_at)

    page = text_of(as_(viewer).get(reverse("run-detail", args=[run.pk])))

    assert 'class="badge silent"' in page and "Nothing was heard from worker-1 for a while." in page


def test_a_run_offers_what_its_state_allows(running_run: RunMaker, finished_run: RunMaker, operator: User) -> None:
    running, finished = running_run(), finished_run()

    of_running = text_of(as_(operator).get(reverse("run-detail", args=[running.pk])))
    of_finished = text_of(as_(operator).get(reverse("run-detail", args=[finished.pk])))

    assert reverse("run-stop", args=[running.pk]) in of_running and reverse("run-delete", args=[running.pk]) not in of_running
    assert reverse("run-stop", args=[finished.pk]) not in of_finished and reverse("run-delete", args=[finished.pk]) in of_finished


def test_what_is_not_allowed_comes_back_as_a_sentence(finished_run: RunMaker, operator: User) -> None:
    run = finished_run()

    page = text_of(as_(operator).post(reverse("run-stop", args=[run.pk]), follow=True))

    assert 'class="notice error"' in page and "succeeded" in page


def test_a_deleted_run_waits_in_the_trash_and_can_be_restored(finished_run: RunMaker, operator: User) -> None:
    run, client = finished_run(name="not needed"), as_(operator)

    client.post(reverse("run-delete", args=[run.pk]))
    table, trash = (text_of(client.get(reverse(name, args=["distillery"]))) for name in ("runs", "trash"))
    client.post(reverse("run-restore", args=[run.pk]))

    assert "not needed" not in re.sub(r'<div class="notice.*?</div>', "", table) and "not needed" in trash
    assert "not needed" in text_of(client.get(reverse("runs", args=["distillery"])))


def test_editing_refuses_an_empty_name_with_a_sentence(finished_run: RunMaker, operator: User) -> None:
    run = finished_run(name="before")

    page = text_of(
        as_(operator).post(reverse("run-edit", args=[run.pk]), {"name": " ", "tags": "", "notes": "", "priority": "0"}, follow=True)
    )

    assert "name: " in page and Run.objects.get(pk=run.pk).name == "before"


def test_curves_come_as_panels_with_the_mark_to_go_on_from(finished_run: RunMaker, viewer: User) -> None:
    run = finished_run()
    series = MetricSeries.objects.create(run=run, name="loss", last_step=3, points=3)
    MetricPoint.objects.bulk_create(
        [MetricPoint(series=series, step=step, value=value) for step, value in [(1, 3.0), (2, float("nan")), (3, 1.0)]]
    )

    answer = as_(viewer).get(reverse("run-curves", args=[run.pk])).json()

    (panel,) = answer["panels"]
    assert panel["id"] == "loss" and panel["shown"] is True
    assert panel["figure"]["data"][0]["x"] == [1, 2, 3]
    assert panel["figure"]["data"][0]["y"] == [3.0, None, 1.0]
    assert answer["mark"] == f"0~0~{run.evaluations.get().pk}"


def test_a_number_of_a_diverged_run_is_written_as_a_power() -> None:
    shown = (metric(4.476e24, "nll"), signed(-4.476e24, "nll"), signed(200.0, "parameters"), metric(0.25, "nll"))

    assert shown == ("4.476e+24", "−4.476e+24", "+200", "0.2500")


def test_a_value_below_zero_has_the_same_sign_as_a_difference() -> None:
    assert (metric(-1.5, "gap_closed"), signed(-1.5, "gap_closed")) == ("−1.5000", "−1.5000")


def test_a_difference_smaller_than_what_is_shown_has_no_sign_and_no_color(finished_run: RunMaker, viewer: User) -> None:
    run = finished_run(metrics=METRICS | {"nll": 0.40001}, teacher_metrics=METRICS | {"nll": 0.40002})

    page = text_of(as_(viewer).get(reverse("run-detail", args=[run.pk])))

    assert '<span class="muted">≈</span>' in page and "0.0000" not in page


def test_the_teacher_is_named_among_the_settings(finished_run: RunMaker, viewer: User) -> None:
    teacher = finished_run(name="the wise one")
    run = finished_run(method="vanilla-kd", teachers=[f"run:{teacher.pk}"])
    run.teachers.set(ModelRecord.objects.filter(run=teacher))

    page = text_of(as_(viewer).get(reverse("run-detail", args=[run.pk])))

    assert f'<dt>Teachers</dt><dd><a href="{reverse("run-detail", args=[teacher.pk])}">the wise one</a></dd>' in page
