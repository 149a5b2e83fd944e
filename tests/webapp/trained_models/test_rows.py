"""The trained models of a project: whose they are, in which order, and what is told of each."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.urls import reverse

from engine.errors import SpecError
from tests.webapp.conftest import RunMaker, signed_in, token_of, with_token
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import Membership, Project, Role, User
from webapp.catalog.models import ModelRecord
from webapp.runs.models import LatestMetric, Run
from webapp.trained_models.rows import models_of, models_page

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def about(run: Run, **fields: Any) -> None:
    ModelRecord.objects.filter(run=run).update(**fields)


def names(project: Project, **asked: Any) -> list[str]:
    return [model.name for model in models_page(project, **asked).models]


@pytest.fixture
def four(finished_run: RunMaker) -> list[Run]:
    """Models that are alike in much: made in this order."""
    made = []
    for name, parameters, accuracy in (("b", 10, 0.5), ("a", 30, None), ("d", None, 0.5), ("c", 10, 0.9)):
        run = finished_run(name=name, metrics={"accuracy": accuracy, "nll": 1.0})
        about(run, parameters=parameters, architecture=f"mlp-{parameters or 0}")
        made.append(run)
    return made


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("-created", "cdab"),
        ("created", "badc"),
        ("name", "abcd"),
        ("-name", "dcba"),
        ("architecture", "dcba"),
        ("parameters", "cbad"),
        ("-parameters", "acbd"),
        ("accuracy", "dbca"),
        ("-accuracy", "cdba"),
        ("task", "cdab"),
        ("nll", "cdab"),
        ("brier", "cdab"),
        ("latency_ms", "cdab"),
    ],
)
def test_among_equals_the_newest_comes_first_and_without_a_value_the_last(sort: str, order: str, four: list[Run], project: Project) -> None:
    assert "".join(names(project, sort=sort)) == order


@pytest.mark.parametrize("sort", ["beauty", "-beauty", "", "-", "--name", "run__project"])
def test_an_order_that_there_is_not_is_refused_with_those_that_there_are(sort: str, project: Project) -> None:
    with pytest.raises(SpecError) as refused:
        models_page(project, sort=sort)

    name = sort.removeprefix("-")
    assert str(refused.value) == (
        f"sort: there is nothing to sort by with the name {name!r}; "
        "choose one of name, architecture, parameters, task, created or a metric."
    )


def test_models_are_those_of_the_project_whatever_is_asked(
    finished_run: RunMaker, project: Project, elsewhere: Project, viewer: User, stranger: User
) -> None:
    finished_run(name="ours")
    finished_run(name="theirs", of=elsewhere)
    client = signed_in(viewer)

    assert names(project) == names(project, sort="-accuracy") == names(project, task="digits") == ["ours"]
    assert names(project, task="gone") == names(project, task="Digits") == []
    assert [one["name"] for one in client.get("/api/v1/models/", {"project": "distillery"}).json()["results"]] == ["ours"]
    answer = client.get("/api/v1/models/", {"project": "elsewhere"})
    assert (answer.status_code, answer.json()) == (404, {"detail": "There is no such project, or you are not a member of it."})
    assert as_(viewer).get(reverse("models", args=["elsewhere"])).status_code == 404


def test_a_token_of_one_project_finds_no_models_of_another(
    finished_run: RunMaker, project: Project, elsewhere: Project, viewer: User
) -> None:
    Membership.objects.create(user=viewer, project=elsewhere, role=Role.VIEWER)
    finished_run(of=elsewhere)
    client = with_token(token_of(viewer, project))

    assert [client.get("/api/v1/models/", {"project": slug}).status_code for slug in ("distillery", "elsewhere")] == [200, 404]


def test_a_model_is_told_with_its_headline_values_that_there_are_and_no_others(finished_run: RunMaker, project: Project) -> None:
    run = finished_run(metrics={"accuracy": 0.9, "nll": None, "auroc": 0.7, "ece": 0.0})
    LatestMetric.objects.create(run=finished_run(name="other"), name="agreement", value=0.4, step=1)

    found = models_page(project)

    assert found.metrics[run.pk] == {"accuracy": 0.9, "ece": 0.0}
    assert "agreement" in found.metrics[found.models[0].run_id] and "agreement" not in found.metrics[run.pk]


def test_the_column_of_a_kind_is_the_metric_that_most_of_its_models_have_and_among_equals_its_first(
    finished_run: RunMaker, project: Project
) -> None:
    assert models_page(project).columns == ()
    first = finished_run(metrics={"nll": 1.0, "accuracy": 0.9})
    assert models_page(project).columns == ("accuracy",)
    finished_run(metrics={"nll": 1.0})
    assert models_page(project).columns == ("nll",)
    about(first, kind="causal-lm")  # both kinds have their own column, here the same
    assert models_page(project).columns == ("nll",)
    about(first, kind="unheard-of")
    assert models_page(project).columns == ("nll",)


def test_teachers_are_named_in_order_with_however_many_models(
    finished_run: RunMaker, project: Project, viewer: User, django_assert_max_num_queries: Callable[..., AbstractContextManager[Any]]
) -> None:
    teachers = [ModelRecord.objects.get(run=finished_run(name=name)) for name in ("zed", "<b>amy</b>", "mia")]
    for name in ("s1", "s2"):
        ModelRecord.objects.get(run=finished_run(name=name)).parents.set(teachers)

    with django_assert_max_num_queries(2):
        found = {model.name: [parent.name for parent in model.parents.all()] for model in models_of(project)}

    assert found["s1"] == found["s2"] == ["<b>amy</b>", "mia", "zed"] and found["mia"] == []
    page = text_of(as_(viewer).get(reverse("models", args=["distillery"])))
    assert page.count("&lt;b&gt;amy&lt;/b&gt;</a>, ") == 2 and "<b>amy</b>" not in page


def test_the_api_lists_models_a_page_at_a_time_with_all_that_a_launch_needs(four: list[Run], viewer: User) -> None:
    client = signed_in(viewer)

    first = client.get("/api/v1/models/", {"project": "distillery", "page_size": 3}).json()
    second = client.get(first["next"]).json()

    assert ([one["name"] for one in first["results"]], [one["name"] for one in second["results"]]) == (["c", "d", "a"], ["b"])
    assert (first["count"], second["next"]) == (4, None)
    (one,) = second["results"]
    assert (one["reference"], one["run"], one["task"], one["kind"], one["architecture"], one["parameters"]) == (
        f"run:{four[0].pk}",
        str(four[0].pk),
        "digits",
        "classifier",
        "mlp-10",
        10,
    )
    assert one["meta"]["classes"] == 10


@pytest.mark.parametrize("query", [{}, {"project": ""}, {"task": "digits"}])
def test_the_api_asks_for_a_project(query: dict[str, str], viewer: User) -> None:
    answer = signed_in(viewer).get("/api/v1/models/", query)

    assert (answer.status_code, answer.json()) == (400, {"errors": [{"field": "project", "message": "is required: the project's slug."}]})


# The page


def test_the_page_keeps_the_task_and_the_order_in_what_it_offers(four: list[Run], operator: User) -> None:
    page = text_of(as_(operator).get(reverse("models", args=["distillery"]), {"task": "digits", "sort": "-accuracy"}))

    assert '<option value="digits" selected>' in page and '<input type="hidden" name="sort" value="-accuracy">' in page
    assert f"?task=digits&amp;teacher={four[0].pk}" in page


def test_an_unknown_order_keeps_the_task_and_is_only_text(finished_run: RunMaker, viewer: User) -> None:
    finished_run(name="of digits")
    finished_run(name="of mnist", task="mnist")

    page = text_of(as_(viewer).get(reverse("models", args=["distillery"]), {"task": "mnist", "sort": "<script>"}))

    assert "of mnist" in page and "of digits" not in page
    assert "&lt;script&gt;" in page and "<script>&" not in page and 'value="<script>"' not in page


def test_where_there_is_no_model_a_way_to_one_is_shown_to_who_may_go_it(project: Project, viewer: User, operator: User) -> None:
    address = reverse("models", args=["distillery"])

    seen, offered = text_of(as_(viewer).get(address)), text_of(as_(operator).get(address, {"task": "mnist"}))

    assert "No models yet" in seen and "?recipe=teacher" not in seen
    assert "No models of this task yet" in offered and "?recipe=teacher&amp;task=mnist" in offered


def test_a_viewer_is_not_offered_to_use_a_model(four: list[Run], viewer: User) -> None:
    assert "Use as teacher" not in text_of(as_(viewer).get(reverse("models", args=["distillery"])))
