"""The page that launches runs."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from engine.spec import catalog
from tests.webapp.conftest import RunMaker
from tests.webapp.pages import HTMX, as_, text_of
from webapp.accounts.models import Project, User
from webapp.catalog.models import ModelRecord
from webapp.launching.fields import Field, fields_of
from webapp.launching.fields import text_of as text_of_value
from webapp.runs.models import Run, State

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


FORM = {
    "method": "supervised", "task": "digits", "student": "mlp-16", "settings.learning_rate": "0.02", "budget.steps": "20", "seed": "0",
    "seeds": "1", "name": "by form", "tags": "one, two", "priority": "0", "devices": "1", "device": "cpu", "precision": "float32", "cadence.log": "1",
}  # fmt: skip


def complete(client: Client, slug: str, **changes: str) -> dict[str, str]:
    """What a browser would send: every control of the page, with these changes."""
    page = text_of(client.post(reverse("launch-fields", args=[slug]), FORM, HTTP_HX_TRIGGER_NAME="task", **HTMX))
    sent = {}
    for name, value in re.findall(r'<input[^>]* name="([^"]+)" value="([^"]*)"(?![^>]*type="checkbox")', page):
        sent.setdefault(name, value)
    return sent | FORM | changes


def test_the_form_launches_what_was_typed(project: Project, operator: User) -> None:
    client = as_(operator)

    answer = client.post(reverse("launch", args=[project.slug]), complete(client, project.slug))

    run = Run.objects.get()
    assert answer["Location"] == reverse("run-detail", args=[run.pk])
    assert (run.name, run.tags, run.state) == ("by form", ["one", "two"], State.QUEUED)
    assert run.spec["settings"]["learning_rate"] == 0.02 and run.spec["budget"]["steps"] == 20


def test_the_same_form_sent_twice_launches_once(project: Project, operator: User) -> None:
    client = as_(operator)
    form = complete(client, project.slug, idempotency_key="abc")

    answers = [client.post(reverse("launch", args=[project.slug]), form) for _ in range(2)]

    assert Run.objects.count() == 1
    assert answers[0]["Location"] == answers[1]["Location"]


def test_a_form_changed_after_going_back_launches_again(project: Project, operator: User) -> None:
    client = as_(operator)

    for name in ("first", "second"):
        client.post(reverse("launch", args=[project.slug]), complete(client, project.slug, idempotency_key="abc", name=name))

    assert set(Run.objects.values_list("name", flat=True)) == {"first", "second"}


def test_an_error_stands_beside_its_field_and_the_input_is_kept(project: Project, operator: User) -> None:
    client = as_(operator)
    form = complete(client, project.slug, **{"settings.learning_rate": "-3", "settings.batch_size": "many", "name": "kept name"})

    answer = client.post(reverse("launch", args=[project.slug]), form)

    page = text_of(answer)
    assert answer.status_code == 400 and not Run.objects.exists()
    field = page[page.index('id="f-settings-learning_rate"') :]
    assert 'value="-3"' in field[:200] and field.index("must be greater than 0; got -3.") < field.index('class="field')
    assert 'value="many"' in page and "must be a whole number; got &#x27;many&#x27;." in page
    assert 'value="kept name"' in page


def test_another_method_keeps_what_was_typed_over_a_default(project: Project, operator: User) -> None:
    form = {
        "method": "ps-kd",
        "shown_method": "supervised",
        "task": "digits",
        "settings.learning_rate": "0.5",
        "settings.batch_size": "64",
        "name": "mine",
    }

    page = text_of(as_(operator).post(reverse("launch-fields", args=[project.slug]), form, HTTP_HX_TRIGGER_NAME="method", **HTMX))

    assert re.search(r'name="settings.learning_rate" value="0.5"', page)
    assert 'name="settings.alpha_T"' in page and 'value="mine"' in page


def test_a_preset_fills_in_settings_and_budget(project: Project, operator: User) -> None:
    form = {
        "method": "vanilla-kd",
        "shown_method": "vanilla-kd",
        "task": "digits",
        "preset": "paper",
        "settings.learning_rate": "9",
        "name": "mine",
    }

    page = text_of(as_(operator).post(reverse("launch-fields", args=[project.slug]), form, HTTP_HX_TRIGGER_NAME="preset", **HTMX))

    assert 'name="settings.learning_rate" value="0.05"' in page
    assert 'name="budget.epochs" value="240"' in page and 'value="mine"' in page


def test_without_a_trained_model_the_form_leads_to_the_default_teacher(project: Project, operator: User) -> None:
    page = text_of(as_(operator).get(reverse("launch", args=[project.slug]) + "?method=vanilla-kd"))

    assert "No trained model for this task yet." in page and "Train the default teacher (mlp-128-128) first" in page


def test_the_recipe_of_the_default_teacher_fills_the_form(project: Project, operator: User) -> None:
    page = text_of(as_(operator).get(reverse("launch", args=[project.slug]) + "?recipe=teacher&task=digits"))

    assert '<option value="mlp-128-128" selected>' in page
    assert 'name="settings.learning_rate" value="0.003"' in page and 'name="budget.epochs" value="40"' in page


def test_trained_models_of_the_task_can_be_chosen_as_teachers(finished_run: RunMaker, operator: User) -> None:
    teacher = finished_run(name="the teacher")

    page = text_of(as_(operator).get(reverse("launch", args=["distillery"]) + "?method=vanilla-kd"))

    assert re.search(rf'value="run:{teacher.pk}"\s+checked', page) and re.search(r"the teacher #\d+ \(mlp-16", page)


def test_a_clone_fills_the_form(finished_run: RunMaker, operator: User) -> None:
    run = finished_run(name="original", settings={"learning_rate": 0.125}, seed=7)

    page = text_of(as_(operator).get(reverse("launch", args=["distillery"]) + f"?clone={run.pk}"))

    assert "Clone of original" in page
    assert 'name="settings.learning_rate" value="0.125"' in page and 'name="seed" value="7"' in page


def test_seeds_and_baseline_are_launched_together(project: Project, operator: User) -> None:
    client, form = (
        as_(operator),
        complete(as_(operator), project.slug, method="ps-kd", seeds="2", with_baseline="true", **{"budget.steps": "19"}),
    )

    answer = client.post(reverse("launch", args=[project.slug]), form)

    assert answer["Location"] == reverse("runs", args=[project.slug])
    assert sorted(Run.objects.values_list("method_id", "seed")) == [("ps-kd", 0), ("ps-kd", 1), ("supervised", 0), ("supervised", 1)]


def test_json_is_launched_as_it_is(project: Project, operator: User) -> None:
    text = '{"method": "supervised", "task": "digits", "budget": {"steps": 5}, "name": "pasted"}'

    as_(operator).post(reverse("launch", args=[project.slug]), {"json": text})

    assert Run.objects.get().name == "pasted"


def test_json_with_errors_is_shown_again_with_each_path(project: Project, operator: User) -> None:
    client, text = as_(operator), '{"method": "supervised", "task": "digits", "settings": {"nonsense": 1}}'

    broken = text_of(client.post(reverse("launch", args=[project.slug]), {"json": "{"}))
    wrong = text_of(client.post(reverse("launch", args=[project.slug]), {"json": text}))

    assert "This is not JSON (line 1, column 2:" in broken
    assert "settings.nonsense" in wrong and "is not a known field" in wrong and "&quot;nonsense&quot;: 1" in wrong


@pytest.mark.parametrize(("task", "reward"), [("points-2d", "near:-0.6,0.6"), ("digits-images", "confidence")])
def test_a_setting_that_follows_from_the_task_is_empty_and_says_in_gray_what_it_then_is(
    project: Project, operator: User, task: str, reward: str
) -> None:
    page = text_of(as_(operator).get(reverse("launch", args=[project.slug]) + f"?method=pso&task={task}"))

    control = page[page.index('<input id="f-settings-reward"') :].partition(">")[0]
    assert 'value=""' in control and f'placeholder="{reward} unless set"' in control


def test_the_largest_teacher_is_offered_first_with_its_accuracy(finished_run: RunMaker, operator: User) -> None:
    large = finished_run(name="large", metrics={"accuracy": 0.9})
    small = finished_run(name="small", metrics={"accuracy": 0.95})
    ModelRecord.objects.filter(run=large).update(parameters=2_000)
    ModelRecord.objects.filter(run=small).update(parameters=1_000)

    page = text_of(as_(operator).get(reverse("launch", args=[large.project.slug]) + "?method=vanilla-kd&task=digits"))

    assert page.index("large #1") < page.index("small #2")
    assert "accuracy 0.9500)" in page and "epochs unless set" in page


# Lists


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("20", [20]),
        ("20, 2, 0.5", [20, 2, 0.5]),
        (" 20,2 , 0.5, ", [20, 2, 0.5]),
        ("[20, 2]", [20, 2]),
        ("1e-3", [0.001]),
        ("", []),
        ("20, x", [20, "x"]),
        ("[20", "[20"),
    ],
)
def test_a_list_of_numbers_is_typed_with_or_without_brackets(typed: str, meant: Any) -> None:
    (field,) = fields_of(catalog.methods()["pso"].settings, at="settings", typed={"settings.levels": typed}, values={}, only=["levels"])

    assert field.value() == meant


@pytest.mark.parametrize(("typed", "meant"), [("flip", ["flip"]), ("flip, crop", ["flip", "crop"]), ('["flip"]', ["flip"]), ("", [])])
def test_a_list_of_words_is_typed_without_quotation_marks(typed: str, meant: list[str]) -> None:
    fields = fields_of(catalog.methods()["mtt"].settings, at="", typed={"augmentation": typed}, values={}, only=["augmentation"])

    assert fields[0].value() == meant


@pytest.mark.parametrize("value", [[20.0, 2.0, 0.5], [20], ["flip", "crop"], ["a, b"], [" a"], ["[a"]])
def test_a_list_is_shown_as_it_is_typed(value: list[Any]) -> None:
    text = text_of_value(value)

    assert Field("levels", "Levels", "list", raw=text, of_numbers=not isinstance(value[0], str)).value() == value


def test_a_lists_wrong_entries_get_one_sentence_beside_the_field(project: Project, operator: User) -> None:
    form = {"method": "pso", "task": "points-2d", "student": "x", "settings.levels": "20, x, -3"}

    page = text_of(as_(operator).post(reverse("launch", args=[project.slug]), form))

    field = page[page.index('id="f-settings-levels"') :].partition('<div class="field')[0]
    assert field.count('class="error"') == 1 and "entry 2 must be a number; got &#x27;x&#x27;." in field
    assert 'value="20, x, -3"' in page


# What a budget comes to


def budget_of(client: Client, slug: str, **typed: str) -> str:
    sent = {name.replace("__", "."): value for name, value in typed.items()}
    return text_of(client.post(reverse("launch-budget", args=[slug]), sent, **HTMX)).strip()


def test_an_empty_budget_is_told_in_steps_before_launching(project: Project, operator: User) -> None:
    page = text_of(as_(operator).get(reverse("launch", args=[project.slug]) + "?method=supervised&task=stdlib-text"))

    rows = catalog.tasks()["stdlib-text"].train_rows
    steps = 60 * -(-rows // 64)
    assert f"All empty: 60 epochs of {rows:,} rows in batches of 64 = {steps:,} steps. That is long:" in page


def test_the_steps_follow_what_is_typed(project: Project, operator: User) -> None:
    client, digits = as_(operator), {"method": "supervised", "task": "digits"}  # 1,200 rows

    reported = [
        budget_of(client, project.slug, **digits, settings__batch_size="64"),
        budget_of(client, project.slug, **digits, settings__batch_size="100", budget__epochs="1"),
        budget_of(client, project.slug, **digits, settings__batch_size="64", task_options__train_limit="128", budget__epochs="3"),
        budget_of(client, project.slug, **digits, settings__batch_size="64", budget__steps="38"),
    ]

    assert reported == [
        "All empty: 60 epochs of 1,200 rows in batches of 64 = 1,140 steps.",
        "1 epoch of 1,200 rows in batches of 100 = 12 steps.",
        "3 epochs of 128 rows in batches of 64 = 6 steps.",
        "38 steps = 2 epochs of 1,200 rows in batches of 64.",
    ]


def test_the_told_steps_are_those_of_the_launched_run(project: Project, operator: User) -> None:
    client = as_(operator)
    form = complete(client, project.slug, **{"budget.steps": "", "budget.epochs": "2", "settings.batch_size": "70"})

    client.post(reverse("launch", args=[project.slug]), form)

    assert f"= {Run.objects.get().total_steps} steps." in budget_of(client, project.slug, **form)


def test_a_method_that_counts_in_steps_says_its_own(project: Project, operator: User) -> None:
    assert budget_of(as_(operator), project.slug, method="steve-evolving", task="crafting-world") == "All empty: 60 steps."


@pytest.mark.parametrize(
    "typed",
    [
        {"settings__batch_size": "0"},
        {"settings__batch_size": "many"},
        {"budget__epochs": "-1"},
        {"budget__steps": "x"},
        {"budget__steps": "3", "budget__epochs": "3"},
        {"task_options__train_limit": "none"},
    ],
)
def test_a_budget_that_makes_no_sense_comes_to_nothing(typed: dict[str, str], project: Project, operator: User) -> None:
    assert budget_of(as_(operator), project.slug, method="supervised", task="digits", **typed) == ""


def test_only_who_may_launch_is_told_of_budgets(project: Project, viewer: User, stranger: User) -> None:
    address = reverse("launch-budget", args=[project.slug])

    assert [as_(person).post(address, {}).status_code for person in (viewer, stranger)] == [403, 404]
