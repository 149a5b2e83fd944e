"""The launch form keeps what it was given and what was typed: a clone's settings, a teacher's recipe, a refusal, the way back."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage, Site

pytestmark = pytest.mark.browser
READY = "() => document.readyState === 'complete' && window.htmx && performance.getEntriesByType('navigation')[0].loadEventEnd > 0"


def ready(page: Page) -> Page:
    """Scripts have run, those that wait for the page to be shown too, and nothing is under way."""
    page.wait_for_function(READY)
    page.wait_for_load_state("networkidle")
    return page


def test_a_clone_shows_the_settings_of_its_run_and_launches_with_them(site: Site, open_page: OpenPage) -> None:
    page = ready(open_page(f"/p/browser/launch/?clone={site.runs['diverged']}"))

    expect(page.get_by_label("Learning rate")).to_have_value("90")
    expect(page.get_by_label(re.compile("^Steps")).first).to_have_value("60")
    expect(page.get_by_label("Start from")).to_have_value("")
    page.get_by_label("Name").fill("the same again")
    page.get_by_role("button", name="Launch").click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("the same again")
    expect(page.get_by_role("region", name="Configuration")).to_contain_text("90")


def test_the_recipe_of_a_teacher_stays_in_the_form(open_page: OpenPage) -> None:
    page = ready(open_page("/p/browser/launch/?recipe=teacher&task=digits"))

    assert page.get_by_label("Tags").input_value() == "teacher"
    assert page.get_by_label(re.compile("^(Steps|Epochs)")).evaluate_all("fields => fields.some((field) => field.value !== '')")


def test_a_refused_clone_comes_back_with_its_values_and_its_error(site: Site, open_page: OpenPage) -> None:
    page = ready(open_page(f"/p/browser/launch/?clone={site.runs['diverged']}"))
    page.get_by_label("Temperature").fill("-1")

    page.get_by_role("button", name="Launch").click()

    expect(page.locator(".field.wrong")).to_contain_text("must be greater than 0; got -1.")
    ready(page)
    expect(page.get_by_label("Temperature")).to_have_value("-1")
    expect(page.get_by_label("Learning rate")).to_have_value("90")
    expect(page.locator(".field.wrong")).to_contain_text("must be greater than 0; got -1.")


@pytest.mark.parametrize("way", ["reload", "back"])
def test_going_back_and_loading_again_keep_what_was_typed(way: str, open_page: OpenPage) -> None:
    page = ready(open_page("/p/browser/launch/?method=vanilla-kd"))
    page.get_by_label("Method").select_option("ps-kd")
    expect(page.get_by_role("heading", name="Settings of Progressive self-knowledge distillation")).to_be_visible()
    page.get_by_label("Learning rate").fill("0.5")
    page.get_by_label("Name").fill("kept")
    page.get_by_label(re.compile("^Alpha")).first.fill("0.25")

    if way == "reload":
        page.reload()
    else:
        page.get_by_role("link", name="Models").click()
        page.wait_for_url("**/models/")
        page.go_back()

    expect(page.get_by_role("heading", name="Settings of Progressive self-knowledge distillation")).to_be_visible()
    expect(page.get_by_label("Learning rate")).to_have_value("0.5")
    expect(page.get_by_label("Name")).to_have_value("kept")
    expect(page.get_by_label(re.compile("^Alpha")).first).to_have_value("0.25")


def test_the_way_to_a_model_that_is_missing_leads_to_a_form_that_is_filled(open_page: OpenPage) -> None:
    page = ready(open_page("/p/browser/launch/?method=pso&task=points-2d"))
    expect(page.get_by_text("No trained model to go on from yet.")).to_be_visible()

    page.get_by_text("The way to it:").get_by_role("link").first.click()
    ready(page)

    expect(page.get_by_label("Method")).to_have_value("denoising")
    expect(page.get_by_label("Task")).to_have_value("points-2d")
    expect(page.get_by_label("Tags")).to_have_value("teacher")


def test_methods_that_do_not_fit_the_task_are_shown_and_can_not_be_chosen(open_page: OpenPage) -> None:
    page = ready(open_page("/p/browser/launch/?method=supervised&task=digits"))

    misfit = page.locator("#f-method option[value=pso]")
    expect(misfit).to_be_disabled()
    expect(misfit).to_contain_text("it trains a generator, not a classifier or data set")
    page.get_by_label("Task").select_option("points-2d")

    expect(page.locator("#f-method option[value=pso]")).to_be_enabled()
    expect(page.get_by_label("Method")).to_have_value("supervised")  # chosen before: it stays, and is said not to fit
    expect(page.locator("#f-method-help")).to_contain_text(
        "Supervised training does not fit this task: it trains a classifier or language model"
    )
    ready(page)
    page.get_by_role("button", name="Launch").click()
    expect(page.locator(".field.wrong", has=page.locator("#f-method"))).to_contain_text("supervised trains a classifier or causal-lm")


def test_a_model_of_hugging_face_that_was_typed_stays_when_the_form_is_refused_and_loaded_again(open_page: OpenPage) -> None:
    page = ready(open_page("/p/browser/launch/?method=gkd&task=stdlib-text"))
    page.get_by_label("or a Hugging Face model as student").fill("Qwen/Qwen3-0.6B")
    page.get_by_label("or a Hugging Face model as teacher").fill("/srv/models/llama")
    page.get_by_label("First seed").fill("-1")

    page.get_by_role("button", name="Launch").click()

    expect(page.locator(".field.wrong", has_text="First seed")).to_contain_text("must be at least 0; got -1.")
    ready(page)
    for label, value in (("student", "Qwen/Qwen3-0.6B"), ("teacher", "/srv/models/llama")):
        expect(page.get_by_label(f"or a Hugging Face model as {label}")).to_have_value(value)
