"""Which trained models a run is given, and the model that it becomes."""

from typing import Any

import pytest

from tests.runs import new_run
from tests.webapp.conftest import RunMaker
from webapp.accounts.models import Project
from webapp.catalog.models import ModelRecord
from webapp.runs import lifecycle, lineage
from webapp.runs.models import Artifact, Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def exported(run: Run, path: str, attempt: int = 1, **about: Any) -> Artifact:
    about = {"name": "student", "kind": "model", "meta": {}} | about
    return Artifact.objects.create(run=run, attempt=attempt, path=path, bytes=1, sha256="0" * 64, **about)


def test_a_run_is_given_its_teachers_and_what_its_student_begins_with(project: Project, finished_run: RunMaker) -> None:
    first, second, start, unasked = (finished_run(name=name) for name in ("first", "second", "start", "unasked"))
    spec: dict[str, Any] = {"method": "vanilla-kd", "teachers": [f"run:{first.pk}", f"run:{second.pk}"]}

    taught = lineage.models_of(new_run(project, **spec | {"settings": {"teacher_weights": [0.5, 0.5]}}))
    goes_on = lineage.models_of(new_run(project, student=f"run:{start.pk}"))

    assert taught == {f"run:{run.pk}": f"runs/{run.pk}/attempt-1/student" for run in (first, second)}
    assert goes_on == {f"run:{start.pk}": f"runs/{start.pk}/attempt-1/student"}
    assert lineage.models_of(new_run(project)) == {}
    assert ModelRecord.objects.filter(run=unasked).exists()


def test_only_the_settling_attempts_model_of_a_success_is_handed_on(project: Project, finished_run: RunMaker) -> None:
    teacher = finished_run()
    run = new_run(project, student=f"run:{teacher.pk}")
    Run.objects.filter(pk=teacher.pk).update(attempt=2)
    of_first_attempt = lineage.models_of(run)
    exported(teacher, "second", attempt=2)
    exported(teacher, "a table", attempt=2, name="table", kind="table")
    of_second_attempt = lineage.models_of(run)
    Run.objects.filter(pk=teacher.pk).update(state=State.FAILED)

    assert of_first_attempt == {}
    assert of_second_attempt == {f"run:{teacher.pk}": "second"}
    assert lineage.models_of(run) == {}


def test_a_model_in_the_trash_still_teaches_what_was_launched_with_it(project: Project, finished_run: RunMaker) -> None:
    teacher = finished_run()
    run = new_run(project, student=f"run:{teacher.pk}")

    lifecycle.trash(teacher, "otto")

    assert list(lineage.models_of(run)) == [f"run:{teacher.pk}"]


def test_a_student_becomes_a_model_once_however_often_it_is_recorded(project: Project, finished_run: RunMaker) -> None:
    teachers = [finished_run(name=name) for name in ("one", "two")]
    run = new_run(project, name="before")
    exported(run, "x", attempt=0, meta={"kind": "classifier", "architecture": "mlp-16", "parameters": 1000})
    run.teachers.set(ModelRecord.objects.filter(run=teachers[0]))
    lineage.record_student(run)
    run.name = "after"
    exported(run, "y", attempt=0, name="newer", meta={"architecture": "mlp-32"})
    run.teachers.set(ModelRecord.objects.filter(run=teachers[1]))

    lineage.record_student(run)

    record = ModelRecord.objects.get(run=run)
    assert (record.project, record.task_id, record.name) == (project, "digits", "after")
    assert (record.kind, record.architecture, record.parameters, record.meta) == ("", "mlp-32", None, {"architecture": "mlp-32"})
    assert [parent.run for parent in record.parents.all()] == [teachers[1]]


def test_a_run_without_a_model_of_its_last_attempt_becomes_none(project: Project) -> None:
    run = new_run(project)
    exported(run, "x", attempt=3)
    exported(run, "y", attempt=0, kind="table")

    lineage.record_student(run)

    assert not ModelRecord.objects.exists()
