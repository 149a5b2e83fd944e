"""The pages of methods and of models."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.urls import reverse

from tests.webapp.conftest import RunMaker
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import Project, User
from webapp.catalog.models import ModelRecord
from webapp.trained_models.rows import models_page

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def test_a_methods_page_shows_its_readme_settings_and_presets(project: Project, viewer: User) -> None:
    page = text_of(as_(viewer).get(reverse("method-detail", args=[project.slug, "vanilla-kd"])))

    assert "<math" in page and "<code>temperature</code>" in page and "?method=vanilla-kd&amp;preset=paper" in page


# Models


def names_on(page: str) -> list[str]:
    return re.findall(r'<td class="run-name">.*?<a href="[^"]+">([^<]+)</a>', page)


def heads_on(page: str) -> list[str]:
    return re.findall(r"<th scope=\"col\"[^>]*>(?:<a [^>]*>)?([^<]+)", page)


def test_models_show_what_their_kind_is_told_by(finished_run: RunMaker, viewer: User) -> None:
    finished_run(name="good", metrics={"accuracy": 0.95, "nll": 0.1})
    finished_run(name="unjudged", metrics={})

    page = text_of(as_(viewer).get(reverse("models", args=["distillery"])))

    assert heads_on(page) == ["Model", "Architecture", "Parameters", "Accuracy", "Task", "Taught by", "Made"]
    assert "0.9500" in page and "–" in page


def test_each_kind_of_model_has_a_column_with_the_metric_that_most_of_them_have(finished_run: RunMaker, viewer: User) -> None:
    finished_run(metrics={"accuracy": 0.9})
    for metrics in ({"nll": 3.0}, {"nll": 2.0, "rollout_kl_student_teacher": 0.5}):
        ModelRecord.objects.filter(run=finished_run(metrics=metrics)).update(kind="causal-lm")

    page = text_of(as_(viewer).get(reverse("models", args=["distillery"])))

    assert heads_on(page)[3:5] == ["Accuracy", "NLL"]


def test_models_are_sorted_by_any_column_and_those_without_a_value_come_last(finished_run: RunMaker, viewer: User) -> None:
    for name, metrics in (("middle", {"accuracy": 0.5}), ("none", {}), ("best", {"accuracy": 0.9}), ("worst", {"accuracy": 0.1})):
        finished_run(name=name, metrics=metrics)
    person, address = as_(viewer), reverse("models", args=["distillery"])

    assert names_on(text_of(person.get(address))) == ["worst", "best", "none", "middle"]
    page = text_of(person.get(address, {"sort": "-accuracy"}))
    assert names_on(page) == ["best", "middle", "worst", "none"]
    assert 'aria-sort="descending"' in page and 'href="?sort=accuracy"' in page
    assert names_on(text_of(person.get(address, {"sort": "accuracy"}))) == ["worst", "middle", "best", "none"]
    assert names_on(text_of(person.get(address, {"sort": "name"}))) == ["best", "middle", "none", "worst"]


def test_an_unknown_order_of_models_is_told(finished_run: RunMaker, viewer: User) -> None:
    finished_run(name="one")

    page = text_of(as_(viewer).get(reverse("models", args=["distillery"]), {"sort": "beauty"}))

    assert "there is nothing to sort by with the name &#x27;beauty&#x27;" in page and names_on(page) == ["one"]


def test_the_table_of_models_asks_no_more_for_more_models(
    finished_run: RunMaker, viewer: User, django_assert_max_num_queries: Callable[..., AbstractContextManager[Any]]
) -> None:
    project = finished_run().project
    with django_assert_max_num_queries(3):
        models_page(project, sort="-accuracy")
    for number in range(4):
        finished_run(name=f"run {number}")

    with django_assert_max_num_queries(3):
        page = models_page(project, sort="-accuracy")

    assert len(page.models) == 5 and all(page.metrics[model.run_id]["accuracy"] == 0.9 for model in page.models)
