"""The page that compares runs."""

import re

import pytest
from django.urls import reverse

from tests.webapp.conftest import RunMaker
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import Project, User
from webapp.runs.models import MetricPoint, MetricSeries

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def test_the_comparison_shows_differences_to_the_pinned_run(finished_run: RunMaker, viewer: User) -> None:
    plain = finished_run(name="plain", metrics={"accuracy": 0.80}, seed=1)
    better = finished_run(name="better", metrics={"accuracy": 0.85}, settings={"learning_rate": 0.5})

    page = text_of(as_(viewer).get(reverse("compare", args=["distillery"]) + f"?runs={plain.pk},{better.pk}&baseline={plain.pk}"))

    assert "+0.0500" in page and "settings.learning_rate" in page and "settings.momentum" not in page


def test_a_metric_that_all_share_has_no_best(finished_run: RunMaker, viewer: User) -> None:
    runs = [
        finished_run(name=name, metrics={"accuracy": 0.8, "nll": nll}, seed=seed)
        for seed, (name, nll) in enumerate([("a", 0.4), ("b", 0.5)])
    ]

    page = text_of(as_(viewer).get(reverse("compare", args=["distillery"]) + f"?runs={runs[0].pk},{runs[1].pk}&grouped=0"))

    assert re.findall(r'<td class="number best">([\d.]+)', page) == ["0.4000"]


def test_seeds_are_grouped_until_each_is_asked_for(finished_run: RunMaker, viewer: User) -> None:
    runs = [finished_run(name=f"seed {seed}", metrics={"accuracy": accuracy}, seed=seed) for seed, accuracy in [(0, 0.8), (1, 0.9)]]
    other = finished_run(name="other", settings={"learning_rate": 0.5})
    address = reverse("compare", args=["distillery"]) + "?runs=" + ",".join(str(run.pk) for run in [*runs, other])

    grouped, each = (text_of(as_(viewer).get(address + more)) for more in ("", "&grouped=0"))

    assert "n = 2" in grouped and "0.8500" in grouped and "± 0.0707" in grouped
    assert "n = 2" not in each and "0.8000" in each


def test_a_comparison_of_one_run_goes_back_with_a_sentence(finished_run: RunMaker, viewer: User) -> None:
    page = text_of(as_(viewer).get(reverse("compare", args=["distillery"]) + f"?runs={finished_run().pk}", follow=True))

    assert "runs: must name 2 to 20 different runs; got 1." in page


def test_no_run_of_another_project_enters_a_comparison(finished_run: RunMaker, elsewhere: Project, viewer: User) -> None:
    mine, theirs = finished_run(), finished_run(of=elsewhere)

    answer = as_(viewer).get(reverse("compare", args=["distillery"]) + f"?runs={mine.pk},{theirs.pk}")

    assert answer.status_code == 404


def test_the_curves_of_a_comparison_have_one_line_a_run(finished_run: RunMaker, viewer: User) -> None:
    runs = [finished_run(name=name, seed=seed) for seed, name in enumerate(["a", "b"])]
    for run in runs:
        series = MetricSeries.objects.create(run=run, name="loss", last_step=1, points=1)
        MetricPoint.objects.create(series=series, step=1, value=1.0)

    answer = as_(viewer).get(reverse("compare-curves", args=["distillery"]) + f"?runs={runs[0].pk},{runs[1].pk}&grouped=0").json()

    (panel,) = answer["panels"]
    assert [line["name"] for line in panel["figure"]["data"]] == ["a", "b"]
