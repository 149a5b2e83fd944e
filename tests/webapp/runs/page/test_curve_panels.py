"""A run's curves on its page: which share a chart, in which colors, and what lies beneath them."""

from typing import Any

import pytest
from django.urls import reverse

from tests.runs import new_run
from tests.webapp.conftest import RunMaker
from tests.webapp.pages import as_
from tests.webapp.runs.history.test_curves import commit
from webapp.accounts.models import Project, User
from webapp.figures.curves import term_color
from webapp.figures.palette import NEUTRAL, color_of
from webapp.runs.live.news import Mark
from webapp.runs.models import LogLine, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


@pytest.fixture
def run(project: Project) -> Run:
    new_run(project), new_run(project)
    return new_run(project)


def curves_of(run: Run, person: User, **parameters: str) -> Any:
    return as_(person).get(reverse("run-curves", args=[run.pk]), parameters).json()


def lines_of(panel: dict[str, Any]) -> list[tuple[str, list[int], list[float | None], str]]:
    return [(trace["name"], trace["x"], trace["y"], trace["line"]["color"]) for trace in panel["figure"]["data"]]


def test_loss_terms_share_a_panel_in_colors_of_their_own_and_a_lonely_curve_has_its_runs(run: Run, viewer: User) -> None:
    commit(run, {"loss": {1: 1.0}, "loss/labels": {1: 0.75}, "validation/accuracy": {1: 0.5}})

    panels = {panel["id"]: panel for panel in curves_of(run, viewer)["panels"]}

    assert lines_of(panels["loss"]) == [("loss", [1], [1.0], term_color(0)), ("loss/labels", [1], [0.75], term_color(1))]
    assert lines_of(panels["validation/accuracy"]) == [("validation/accuracy", [1], [0.5], color_of(run.number))]


def test_the_loss_and_the_first_metrics_that_there_are_are_open_at_once(run: Run, viewer: User) -> None:
    # Of the headline, accuracy was not measured.
    names = ["loss", "weird", "validation/brier", "validation/ece", "validation/nll", "validation/agreement", "validation/aurc"]
    commit(run, {name: {1: 1.0} for name in names})

    panels = curves_of(run, viewer)["panels"]

    assert [panel["id"] for panel in panels if panel["shown"]] == ["loss", "validation/nll", "validation/ece", "validation/brier"]
    assert [panel["id"] for panel in panels][4:] == ["validation/agreement", "validation/aurc", "weird"]
    assert {panel["id"]: panel["better"] for panel in panels if panel["id"] in {"weird", "validation/nll", "validation/agreement"}} == {
        "weird": None,
        "validation/nll": "lower",
        "validation/agreement": "higher",
    }


def test_a_baseline_lies_beneath_in_gray_where_both_have_the_series(run: Run, project: Project, viewer: User) -> None:
    baseline = new_run(project)
    Run.objects.filter(pk=run.pk).update(baseline=baseline)
    commit(run, {"loss": {1: 1.0}, "loss/kd": {1: 0.5}})
    commit(baseline, {"loss": {1: 2.0, 2: 1.5}, "loss/labels": {1: 2.0}, "other": {1: 0.0}})

    (without,), (beside,) = curves_of(run, viewer)["panels"], curves_of(run, viewer, baseline="1")["panels"]

    assert [name for name, *_ in lines_of(without)] == ["loss", "loss/kd"]
    assert lines_of(beside)[2:] == [("loss (baseline)", [1, 2], [2.0, 1.5], NEUTRAL)]
    assert beside["figure"]["data"][2]["meta"] | {"most_marked": 0} == {
        "series": "loss",
        "run": str(baseline.pk),
        "reference": True,
        "most_marked": 0,
    }


def test_asking_for_a_baseline_that_there_is_not_changes_nothing(run: Run, viewer: User) -> None:
    commit(run, {"loss": {1: 1.0}})

    assert curves_of(run, viewer, baseline="1") == curves_of(run, viewer)


def test_a_narrow_chart_gets_fewer_points_of_a_run_and_of_its_baseline(run: Run, project: Project, viewer: User) -> None:
    baseline = new_run(project)
    Run.objects.filter(pk=run.pk).update(baseline=baseline)
    for one in (run, baseline):
        commit(one, {"loss": {step: float(step % 7) for step in range(1, 1501)}})

    (narrow,), (wide,) = (curves_of(run, viewer, baseline="1", width=width)["panels"] for width in ("100", "4000"))

    assert [300 < len(steps) <= 400 for _, steps, *_ in lines_of(narrow)] == [True, True]
    assert [len(steps) for _, steps, *_ in lines_of(wide)] == [1500, 1500]


def test_the_mark_says_up_to_where_the_page_has_seen(finished_run: RunMaker, viewer: User) -> None:
    run = finished_run()
    commit(run, {"loss": {1: 1.0}})
    commit(run, {"loss": {2: 1.0}})
    for _ in range(2):
        line = LogLine.objects.create(run=run, attempt=1, level="info", text="line")

    assert Mark.parse(curves_of(run, viewer)["mark"]) == Mark("2", line.pk, run.evaluations.get().pk)


def test_a_run_without_curves_has_no_panel(run: Run, viewer: User) -> None:
    assert curves_of(run, viewer) == {"mark": "0~0~0", "panels": []}
