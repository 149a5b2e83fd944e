"""What goes with a run that is deleted for good, as a project's deletion does it."""

import pytest
from django.apps import apps

from tests.runs import new_run
from tests.webapp.batches import write_points
from tests.webapp.conftest import RunMaker
from webapp.accounts.models import Project
from webapp.runs.models import MetricPoint, MetricSeries, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def test_a_run_takes_its_points_with_it_and_leaves_those_of_others(project: Project) -> None:
    gone, kept = new_run(project), new_run(project)
    for run in (gone, kept):
        write_points(run, (1, 0.5), (2, 0.25))
        write_points(run, (1, 0.9), name="validation/accuracy")

    gone.delete()

    assert set(MetricPoint.objects.values_list("series__run", "step")) == {(kept.pk, 1), (kept.pk, 2)}
    assert MetricPoint.objects.count() == 3


def test_a_project_takes_all_of_its_runs_with_it(project: Project, elsewhere: Project, finished_run: RunMaker) -> None:
    write_points(finished_run(teacher_metrics={"accuracy": 0.9}), (1, 0.5))
    other = new_run(elsewhere)
    write_points(other, (7, 0.5))

    project.delete()

    assert list(Run.objects.all()) == [other]
    assert [series.run for series in MetricSeries.objects.all()] == [other]
    assert list(MetricPoint.objects.values_list("step", flat=True)) == [7]
    for model in apps.get_app_config("runs").get_models():
        if any(field.name == "run" for field in model._meta.get_fields()):
            assert not model._default_manager.exclude(run=other).exists(), model.__name__
