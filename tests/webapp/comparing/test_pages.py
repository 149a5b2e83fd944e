"""The page that compares runs."""

import re

import pytest
from django.urls import reverse

from tests.webapp.conftest import RunMaker
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import Project, User
from webapp.runs.models import MetricPoint, MetricSeries, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def test_the_comparison_shows_differences_to_the_pinned_run(finished_run: RunMaker, viewer: User) -> None:
    plain = finished_run(name="plain", metrics={"accuracy": 0.80}, seed=1)
    better = finished_run(name="better", metrics={"accuracy": 0.85}, settings={"learning_rate": 0.5})

    page = text_of(as_(viewer).get(reverse("compare", args=["distillery"]) + f"?runs={plain.pk},{better.pk}&baseline={plain.pk}"))

    assert "+0.0500" in page and "settings.learning_rate" in page and "settings.momentum" not in page


def page_of(viewer: User, *runs: Run, **more: str) -> str:
    return text_of(as_(viewer).get(reverse("compare", args=["distillery"]), {"runs": ",".join(str(run.pk) for run in runs), **more}))


COLORED = re.compile(r'class="(?:number best|small good|small bad)')


def test_color_and_bold_follow_the_verdict(finished_run: RunMaker, viewer: User) -> None:
    base = [finished_run(seed=seed, metrics={"accuracy": 0.80 + seed / 100, "nll": 0.5}) for seed in range(3)]
    other = [
        finished_run(seed=seed, settings={"batch_size": 8}, metrics={"accuracy": 0.9 + seed / 90, "nll": 0.5 + seed / 9})
        for seed in range(3)
    ]

    page = page_of(viewer, *base, *other, baseline=str(base[0].pk))

    assert COLORED.findall(page) == ['class="number best', 'class="small good']
    assert re.search(r'<div class="verdict">undecided</div>', page) and re.search(r'<div class="verdict">better</div>', page)
    assert "better in Accuracy (+0.10" in page and "undecided in NLL" in page


@pytest.mark.parametrize("seeds", [1, 2])
def test_nothing_is_colored_for_one_seed_or_two_however_large_the_difference(seeds: int, finished_run: RunMaker, viewer: User) -> None:
    ece = {"ece_low": 0.29, "ece_high": 0.31}
    base = [finished_run(seed=seed, metrics={"accuracy": 0.1, "ece": 0.3, "latency_ms": 9.0, **ece}) for seed in range(seeds)]
    far = {"accuracy": 0.9, "ece": 0.01, "latency_ms": 1.0, "parameters": 7.0, "ece_low": 0.0, "ece_high": 0.02}
    other = [finished_run(seed=seed, settings={"batch_size": 8}, metrics=far) for seed in range(seeds)]

    page = page_of(viewer, *base, *other, baseline=str(base[0].pk))

    assert COLORED.findall(page) == []
    assert "too few seeds" in page and "+0.8000" in page


def test_ties_are_not_bold(finished_run: RunMaker, viewer: User) -> None:
    base = [finished_run(seed=seed, metrics={"accuracy": 0.8}) for seed in range(3)]
    other = [finished_run(seed=seed, settings={"batch_size": 8}, metrics={"accuracy": 0.8}) for seed in range(3)]

    assert COLORED.findall(page_of(viewer, *base, *other, baseline=str(base[0].pk))) == []


def test_the_runs_own_baseline_is_pinned_until_it_is_unpinned(finished_run: RunMaker, viewer: User) -> None:
    teacher = finished_run(name="teacher", student="mlp-64-64")
    taught = finished_run(name="taught", method="vanilla-kd", teachers=[f"run:{teacher.pk}"], metrics={"accuracy": 0.9})
    plain = finished_run(name="plain", metrics={"accuracy": 0.8})

    pinned, unpinned = page_of(viewer, plain, taught), page_of(viewer, plain, taught, baseline="none")

    assert "Against plain" in pinned and "+0.1000" in pinned and "baseline=none" in pinned
    assert "Against" not in unpinned and "+0.1000" not in unpinned


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
