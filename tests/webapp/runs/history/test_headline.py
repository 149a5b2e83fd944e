"""The evaluation that judges a run, and the headline values that are kept of it. Every place that asks gets the same one."""

from typing import Any

import pytest

from tests.runs import new_run
from webapp.accounts.models import Project, User
from webapp.comparing.comparison import comparison
from webapp.runs.history import headline
from webapp.runs.models import Evaluation, LatestMetric, Run
from webapp.runs.page.closer_look import tables_of
from webapp.runs.page.scores import scores_of

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

VALIDATION, FINAL_VALIDATION, TEST, EARLY_TEST = ("validation", False), ("validation", True), ("test", True), ("test", False)


def evaluated(run: Run, step: int, about: tuple[str, bool], subject: str = "student") -> None:
    """An evaluation whose accuracy is its step: so one sees which was taken."""
    split, final = about
    view = {"view": "rows", "title": f"{split} {step}", "columns": [], "cells": []}
    Evaluation.objects.create(
        run=run,
        attempt=1,
        step=step,
        subject=subject,
        split=split,
        final=final,
        metrics={"accuracy": step},
        tables={f"{split}-{step}": view},
    )


@pytest.fixture
def run(project: Project) -> Run:
    return new_run(project, name="judged")


CASES: list[tuple[list[tuple[int, tuple[str, bool]]], int]] = [
    ([(10, VALIDATION), (20, VALIDATION)], 20),
    ([(20, VALIDATION), (20, FINAL_VALIDATION)], 20),
    ([(30, VALIDATION), (20, TEST)], 20),
    ([(10, TEST), (20, TEST), (30, FINAL_VALIDATION)], 20),
    ([(10, VALIDATION), (40, EARLY_TEST)], 10),
]


@pytest.mark.parametrize(("evaluations", "step"), CASES)
def test_the_final_test_judges_and_until_then_the_newest_validation(
    run: Run, viewer: User, project: Project, evaluations: list[Any], step: int
) -> None:
    for at, about in evaluations:
        evaluated(run, at, about)
        evaluated(run, at + 1, about, subject="teacher")
    other = new_run(project, name="other")

    headline.refresh(run.pk)
    page, compared = scores_of(run), comparison(viewer, [run.pk, other.pk])

    student = compared.columns[0].entries[0].student
    assert student is not None and page is not None
    kept = LatestMetric.objects.get(run=run)
    assert {kept.step, student.step, page.step} == {step}
    assert (kept.value, kept.split) == (step, page.split)
    assert f"{page.split}-{step}" in tables_of(run)


def test_a_final_evaluation_comes_before_another_of_the_same_step(run: Run) -> None:
    evaluated(run, 20, VALIDATION)
    evaluated(run, 20, FINAL_VALIDATION)

    judging = Evaluation.objects.filter(run=run, subject="student").judging().first()

    assert judging is not None and judging.final


def test_each_of_several_runs_has_its_own_judge(run: Run, project: Project) -> None:
    other = new_run(project, name="other")
    for one, steps in ((run, (10, 20)), (other, (30,))):
        for step in steps:
            evaluated(one, step, VALIDATION)

    found = Evaluation.objects.filter(subject="student").judging_each_run()

    assert {one.run_id: one.step for one in found} == {run.pk: 20, other.pk: 30}


def test_values_that_the_newest_evaluation_lacks_are_taken_away(run: Run) -> None:
    evaluated(run, 10, VALIDATION)
    headline.refresh(run.pk)
    Evaluation.objects.filter(run=run).update(metrics={"nll": 0.5, "worst": None, "label": "seven", "right": True})

    headline.refresh(run.pk)

    # What is no number is kept as undefined.
    assert headline.latest_of(run) == {"label": None, "nll": 0.5, "right": None, "worst": None}


def test_a_run_whose_evaluations_were_cut_off_has_no_values(run: Run) -> None:
    evaluated(run, 10, VALIDATION)
    headline.refresh(run.pk)
    Evaluation.objects.filter(run=run).delete()

    headline.refresh(run.pk)

    assert headline.latest_of(run) == {}
