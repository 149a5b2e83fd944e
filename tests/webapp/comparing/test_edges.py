"""A comparison at its edges: ties, missing halves, twins, other projects, and addresses that people type."""

from typing import Any
from uuid import uuid4

import pytest
from django.http import Http404
from django.urls import reverse

from engine.errors import SpecError
from tests.webapp.comparing.test_comparison import cells
from tests.webapp.conftest import RunMaker, signed_in, token_of, with_token
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import Membership, Project, Role, User
from webapp.comparing.comparison import comparable, comparison
from webapp.comparing.page import split_config
from webapp.runs import lifecycle
from webapp.runs.models import Evaluation, MetricPoint, MetricSeries, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def query(*runs: Run, **more: str) -> dict[str, Any]:
    return {"runs": ",".join(str(run.pk) for run in runs), **more}


# Numbers


def test_a_value_that_one_alone_has_is_not_judged(viewer: User, finished_run: RunMaker) -> None:
    base, other = finished_run(metrics={"accuracy": 0.5}), finished_run(settings={"batch_size": 8}, metrics={"auroc": 0.9})

    found = comparison(viewer, [base.pk, other.pk], base.pk)

    for metric, place in (("accuracy", 0), ("auroc", 1)):
        assert [(cell.verdict, cell.delta, cell.n) for cell in cells(found, metric)] == [(None, None, 1 - place), (None, None, place)]


def test_a_baseline_among_seeds_is_the_whole_group(viewer: User, finished_run: RunMaker) -> None:
    seeds = [finished_run(seed=seed, metrics={"accuracy": value}) for seed, value in enumerate((0.25, 0.75))]
    other = finished_run(settings={"batch_size": 8}, metrics={"accuracy": 0.75})

    found = comparison(viewer, [other.pk, *(run.pk for run in seeds)], seeds[1].pk)

    assert found.baseline == 1
    assert [cell.delta for cell in cells(found, "accuracy")] == [0.25, None]


def test_a_gap_is_closed_within_one_split_and_from_the_mean_of_the_runs_without_a_teacher(viewer: User, finished_run: RunMaker) -> None:
    teacher = finished_run(name="teacher")
    plain = [finished_run(seed=seed, settings={"batch_size": 8}, metrics={"accuracy": value}) for seed, value in enumerate((0.7, 0.8))]
    taught = {
        "method": "vanilla-kd",
        "teachers": [f"run:{teacher.pk}"],
        "metrics": {"accuracy": 0.85},
        "teacher_metrics": {"accuracy": 0.95},
    }
    good, moved = finished_run(**taught), finished_run(**taught, settings={"temperature": 2.0})
    Evaluation.objects.filter(run=moved, subject="teacher").update(split="validation", final=False)

    found = comparison(viewer, [*(run.pk for run in plain), good.pk, moved.pk])

    assert [cell.mean for cell in cells(found, "gap_closed")] == [None, pytest.approx(0.5), None]  # (0.85 − 0.75) / (0.95 − 0.75)


# Columns


def test_columns_are_in_the_order_asked_for_and_a_run_asked_for_twice_is_there_once(viewer: User, finished_run: RunMaker) -> None:
    one, two, three = (finished_run(name=name, settings={"batch_size": size}) for name, size in (("one", 8), ("two", 16), ("three", 32)))

    found = comparison(viewer, [three.pk, one.pk, three.pk, two.pk])

    assert [column.label for column in found.columns] == ["three", "one", "two"]
    assert comparable(viewer, [two.pk, one.pk, two.pk]) == [two.pk, one.pk]
    with pytest.raises(SpecError, match=r"^runs: must name 2 to 20 different runs; got 1\.$"):
        comparison(viewer, [one.pk, one.pk])


def test_runs_of_one_name_are_told_apart_by_two_things_at_most_and_else_by_their_place(viewer: User, finished_run: RunMaker) -> None:
    twins = [
        finished_run(name="twin", settings={"batch_size": size, "momentum": size / 100, "learning_rate": size / 1000}) for size in (8, 16)
    ]
    same = [finished_run(name="same", seed=3) for _ in range(2)]

    labels = [column.label for column in comparison(viewer, [run.pk for run in (*twins, *same)], grouped=False).columns]

    assert len(set(labels)) == 4 and all(label.count(",") == 1 and label.startswith("twin (") for label in labels[:2])
    assert labels[2:] == ["same (3)", "same (4)"]


def test_a_student_that_went_on_from_a_run_is_named_by_it_also_where_it_is_gone(viewer: User, finished_run: RunMaker) -> None:
    origin = finished_run(name="origin")
    fresh, further = finished_run(), finished_run(student=f"run:{origin.pk}")

    found = comparison(viewer, [fresh.pk, further.pk])
    main, _ = split_config(found)
    Run.objects.filter(pk=origin.pk).delete()
    gone, _ = split_config(found)

    student = next(row for row in main if row.path == "student")
    assert [(cell.text, cell.run, cell.title) for cell in student.cells] == [
        ("mlp-16", None, ""),
        ("origin #1", origin.pk, f"run:{origin.pk}"),
    ]
    assert [cell.text for row in gone if row.path == "student" for cell in row.cells] == ["mlp-16", f"run:{str(origin.pk)[:8]}…"]


def test_a_run_in_the_trash_is_compared_and_that_is_said(viewer: User, finished_run: RunMaker) -> None:
    kept, thrown = finished_run(), finished_run(name="thrown", seed=1)
    lifecycle.trash(thrown, "otto")

    assert comparison(viewer, [kept.pk, thrown.pk]).warnings == ("thrown is in the trash.",)


# Who may


def test_a_run_of_a_stranger_is_missing_like_one_that_does_not_exist(viewer: User, finished_run: RunMaker, elsewhere: Project) -> None:
    mine, theirs, none = finished_run().pk, finished_run(of=elsewhere).pk, uuid4()

    for other in (theirs, none):
        with pytest.raises(Http404) as missing:
            comparison(viewer, [mine, other])
        assert str(missing.value) == f"There is no run {other}, or it is not in a project of yours."


def test_runs_of_two_projects_of_mine_are_not_compared_and_those_of_the_other_one_lead_there(
    viewer: User, finished_run: RunMaker, elsewhere: Project
) -> None:
    Membership.objects.create(user=viewer, project=elsewhere, role=Role.VIEWER)
    mine, theirs, too = finished_run(), finished_run(of=elsewhere), finished_run(of=elsewhere, seed=1)

    with pytest.raises(SpecError, match=r"^runs: must be of one project\.$"):
        comparison(viewer, [mine.pk, theirs.pk])
    answer = as_(viewer).get(reverse("compare", args=["distillery"]), query(theirs, too, grouped="0"))

    assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (302, reverse("compare", args=["elsewhere"]))
    assert text_of(as_(viewer).get(answer.headers["Location"])).count("n = 2") == 0


def test_a_token_compares_runs_of_its_own_project(viewer: User, finished_run: RunMaker, project: Project, elsewhere: Project) -> None:
    Membership.objects.create(user=viewer, project=elsewhere, role=Role.VIEWER)
    runs = [finished_run(of=elsewhere, seed=seed) for seed in range(2)]

    codes = [with_token(token_of(viewer, one)).get("/api/v1/compare/", query(*runs)).status_code for one in (project, elsewhere)]

    assert codes == [404, 200]


# Addresses


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"baseline": "mine"}, "baseline: must be the id of a run, or none; got &#x27;mine&#x27;."),
        ({"runs": "<b>,x"}, "runs: must be ids of runs with commas between them; got &#x27;&lt;b&gt;,x&#x27;."),
        ({"runs": ""}, "runs: must name 2 to 20 different runs; got 0."),
        ({"grouped": "perhaps"}, "grouped: must be true or false; got &#x27;perhaps&#x27;."),
    ],
)
def test_an_address_that_makes_no_sense_leads_back_with_a_sentence(
    more: dict[str, str], sentence: str, viewer: User, finished_run: RunMaker
) -> None:
    asked = query(finished_run(), finished_run(seed=1)) | more

    page = text_of(as_(viewer).get(reverse("compare", args=["distillery"]), asked, follow=True))
    curves = as_(viewer).get(reverse("compare-curves", args=["distillery"]), asked)

    assert sentence in page
    assert curves.status_code == 400 and curves.json()["detail"].partition(":")[0] == sentence.partition(":")[0]


def test_runs_may_be_named_in_one_parameter_or_in_several(viewer: User, finished_run: RunMaker) -> None:
    one, two, three = (finished_run(name=name, settings={"batch_size": size}) for name, size in (("uno", 8), ("due", 16), ("tre", 32)))
    address = f"{reverse('compare', args=['distillery'])}?runs={one.pk},%20{two.pk},&runs={three.pk}&runs="

    page = text_of(as_(viewer).get(address))

    assert all(name in page for name in ("uno", "due", "tre"))
    assert f"{one.pk},{two.pk},{three.pk}" in page.replace("%2C", ",")


def test_the_api_says_what_is_wrong_with_a_baseline(viewer: User, finished_run: RunMaker) -> None:
    runs, other = [finished_run(seed=seed) for seed in range(2)], uuid4()
    client = signed_in(viewer)

    answers = [client.get("/api/v1/compare/", query(*runs, baseline=text)).json() for text in ("x", str(other))]

    assert answers == [
        {"errors": [{"field": "baseline", "message": "must be the id of a run, or none; got 'x'."}]},
        {"errors": [{"field": "baseline", "message": f"must be one of the compared runs; got {other}."}]},
    ]


# Curves


@pytest.fixture
def curves(finished_run: RunMaker) -> list[Run]:
    """Two seeds and another run: the last has no series `extra`."""
    runs = [*(finished_run(name=f"s{seed}", seed=seed) for seed in range(2)), finished_run(name="other", settings={"batch_size": 8})]
    for run in runs:
        for name in ("loss", "extra") if run.seed or run.name == "s0" else ("loss",):
            series = MetricSeries.objects.create(run=run, name=name, last_step=2, points=2)
            MetricPoint.objects.bulk_create(
                [MetricPoint(series=series, step=step, value=value) for step, value in ((1, 2.0), (2, float("nan")))]
            )
    return runs


def test_seeds_of_a_column_share_its_color_and_are_named_by_their_seeds(curves: list[Run], viewer: User) -> None:
    (panel,) = as_(viewer).get(reverse("compare-curves", args=["distillery"]), query(*curves)).json()["panels"]

    lines = panel["figure"]["data"]
    assert [line["name"] for line in lines] == ["Supervised training mlp-16 · seed 0", "Supervised training mlp-16 · seed 1", "other"]
    assert lines[0]["line"] == lines[1]["line"] != lines[2]["line"]
    assert [line["meta"]["run"] for line in lines] == [str(run.pk) for run in curves] and lines[0]["y"] == [2.0, None]
    assert (panel["id"], panel["figure"]["layout"]["title"]["text"]) == ("loss", "Loss")


def test_series_that_are_asked_for_are_drawn_where_a_run_has_them(curves: list[Run], viewer: User) -> None:
    asked = query(*curves) | {"series": ["extra", "none", *(f"none {number}" for number in range(10)), "loss"]}

    panels = as_(viewer).get(reverse("compare-curves", args=["distillery"]), asked).json()["panels"]

    assert [(panel["id"], len(panel["figure"]["data"])) for panel in panels] == [("extra", 2)]  # the thirteenth is not looked for


def test_the_api_gives_the_named_curves_of_each_run_and_refuses_too_few_or_too_many_points(curves: list[Run], viewer: User) -> None:
    client = signed_in(viewer)

    found = client.get("/api/v1/compare/curves/", query(*curves, series="extra")).json()["runs"]
    codes = [client.get("/api/v1/compare/curves/", query(*curves, points=points)).status_code for points in ("0", "2000", "2001")]

    assert {run_id: list(series) for run_id, series in found.items()} == {
        str(run.pk): ["extra"] if run.name != "other" else [] for run in curves
    }
    assert codes == [400, 200, 400]
