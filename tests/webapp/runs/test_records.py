"""What the database itself refuses of runs, and that nobody changes one by hand."""

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.urls import reverse

from tests.runs import new_run
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import Project, User
from webapp.runs.models import Attempt, Evaluation, HistoryLine, LatestMetric, MetricSeries, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"state": "asleep"}, "run_state_is_known"),
        ({"state": "running"}, "held_run_has_an_attempt"),
        ({"state": "failed"}, "ended_run_has_an_end"),
        ({"number": 1}, "run_number"),
    ],
)
def test_a_run_that_can_not_be_is_not_stored(project: Project, changes: dict[str, Any], constraint: str) -> None:
    new_run(project)
    run = new_run(project)

    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Run.objects.filter(pk=run.pk).update(**changes)


def test_what_a_run_has_once_is_stored_once(project: Project) -> None:
    run, other = new_run(project), new_run(project)
    evaluation: dict[str, Any] = {"attempt": 1, "step": 1, "subject": "student", "split": "test", "metrics": {}}
    once: list[tuple[Any, dict[str, Any]]] = [
        (Attempt, {"number": 1, "worker": "w"}),
        (MetricSeries, {"name": "loss"}),
        (LatestMetric, {"name": "nll", "step": 1}),
        (Evaluation, evaluation),
    ]
    for model, about in once:
        model.objects.create(run=run, **about)
        model.objects.create(run=other, **about)

        with pytest.raises(IntegrityError), transaction.atomic():
            model.objects.create(run=run, **about)

    Evaluation.objects.create(run=run, **evaluation | {"final": True})
    assert Evaluation.objects.filter(run=run).count() == 2


def test_a_record_is_named_by_what_it_is(project: Project) -> None:
    run = new_run(project, name="the run")
    named = [run, Attempt(run=run, number=3), HistoryLine(before="queued", after="starting"), MetricSeries(name="loss/kd")]

    assert [str(one) for one in named] == ["the run", f"{run.pk} #3", "queued → starting", "loss/kd"]


def test_an_administrator_looks_at_runs_and_changes_none(project: Project) -> None:
    admin = User.objects.create_superuser("root")
    run = new_run(project, name="<b>the run</b>")

    shown = as_(admin).get(reverse("admin:runs_run_changelist"), {"q": "the run"})
    one = as_(admin).get(reverse("admin:runs_run_change", args=[run.pk]))
    refused = [
        as_(admin).post(reverse(f"admin:runs_run_{name}", args=arguments), {"post": "yes"}).status_code
        for name, arguments in (("add", []), ("change", [run.pk]), ("delete", [run.pk]))
    ]

    assert "&lt;b&gt;the run&lt;/b&gt;" in text_of(shown) and "<b>the run" not in text_of(shown)
    assert one.status_code == 200 and 'name="_save"' not in text_of(one)
    assert refused == [403, 403, 403]
    assert Run.objects.get() == run
