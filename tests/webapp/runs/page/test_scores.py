"""What a run's page makes of its evaluations and of its baseline's."""

import pytest

from tests.webapp.conftest import RunMaker
from webapp.runs.models import Evaluation, Run
from webapp.runs.page.scores import scores_of

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def evaluated(run: Run, split: str, student: float, teacher: float) -> None:
    for subject, accuracy in (("student", student), ("teacher", teacher)):
        Evaluation.objects.create(
            run=run, attempt=1, step=10, subject=subject, split=split, metrics={"accuracy": accuracy}, final=split == "test"
        )


def gap_closed(run: Run) -> float | None:
    shown = scores_of(run)
    assert shown is not None
    return next((row.student for row in shown.main if row.card.id == "gap_closed"), None)


def test_gap_closed_is_against_the_baselines_accuracy_on_the_same_split(finished_run: RunMaker, running_run: RunMaker) -> None:
    run = running_run()
    run.baseline = finished_run(metrics={"accuracy": 0.80})
    evaluated(run, "test", student=0.85, teacher=0.90)

    # Half of the way from 0.80 to 0.90.
    assert gap_closed(run) == pytest.approx(0.5)


def test_a_baselines_test_is_not_set_against_a_validation(finished_run: RunMaker, running_run: RunMaker) -> None:
    run = running_run()
    run.baseline = finished_run(metrics={"accuracy": 0.80})
    evaluated(run, "validation", student=0.85, teacher=0.90)

    assert gap_closed(run) is None
