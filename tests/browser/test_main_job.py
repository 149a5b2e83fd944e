"""The main job, in a real browser against real processes: launch, watch, stop, resume, compare."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Complaints, OpenPage, Site

pytestmark = pytest.mark.browser


def points(page: Page) -> int:
    """How many points the longest curve of the chart of losses has."""
    return int(page.locator('[data-panel="loss"]').get_attribute("data-points") or 0)


def grows(page: Page) -> bool:
    """True when there are new points, or the server has thinned the curve out again because there were too many."""
    before = points(page)
    page.wait_for_function("(before) => Number(document.querySelector('[data-panel=loss]').dataset.points) !== before", arg=before)
    return True


def launch_a_long_run(page: Page, name: str) -> None:
    page.get_by_label("Method").select_option("supervised")
    expect(page.get_by_role("heading", name="Settings of Supervised training")).to_be_visible()
    page.get_by_label("Name").fill(name)
    page.get_by_label(re.compile("^Steps")).first.fill("2000000")
    page.get_by_role("button", name="Launch").click()
    expect(page.locator("h1 .badge")).to_have_text("running")


def stop(page: Page) -> None:
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(page.locator("h1 .badge")).to_have_text("stopped")


def test_a_person_launches_watches_stops_resumes_and_compares(site: Site, open_page: OpenPage, complaints: Complaints) -> None:
    page = open_page("/p/browser/")
    page.get_by_role("link", name="Launch a run").click()
    launch_a_long_run(page, "by hand")
    page.evaluate("window.notReloaded = true")

    expect(page.locator("#live-state")).to_have_text("live")
    assert grows(page) and grows(page)
    expect(page.locator("#progress")).to_contain_text("steps/s")
    assert page.evaluate("window.notReloaded") is True

    stop(page)
    expect(page.locator("#progress")).to_contain_text("its checkpoint is kept")
    stopped_at = int(re.sub(r"\D", "", re.search(r"step ([\d,]+) of", page.locator("#progress").inner_text())[1]))

    page.get_by_role("button", name="Resume").click()
    expect(page.locator("h1 .badge")).to_have_text("running")
    assert grows(page)
    expect(page.locator("#activity")).to_contain_text(f"{stopped_at:,}")  # the second attempt went on from there
    stop(page)

    page.goto("/p/browser/")
    for name in ("taught", "teacher"):
        page.get_by_role("checkbox", name=f"Select {name}", exact=True).check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="Comparison")).to_be_visible()
    page.get_by_role("link", name="Pin teacher as the baseline").click()
    expect(page.locator("th.pinned")).to_contain_text("teacher")
    expect(page.locator("td .verdict").first).to_have_text("too few seeds")
    expect(page.locator("td .good, td .bad, td.best")).to_have_count(0)
    page.locator("#compare-curves .chart").last.scroll_into_view_if_needed()
    expect(page.locator("#compare-curves .js-plotly-plot")).to_have_count(4)
    assert complaints.of == []


def test_a_restarted_web_server_changes_nothing_for_an_open_page(site: Site, open_page: OpenPage) -> None:
    page = open_page("/p/browser/launch/")
    launch_a_long_run(page, "survivor")
    expect(page.locator("#live-state")).to_have_text("live")

    assert site.web is not None
    site.web.kill()
    expect(page.locator("#live-state")).to_have_text("reconnecting…")
    site.start_web()

    expect(page.locator("#live-state")).to_have_text("live")
    assert grows(page)
    stop(page)


def test_a_reopened_page_shows_the_whole_curve(open_page: OpenPage, site: Site) -> None:
    page = open_page(f"/runs/{site.runs['taught']}/")

    expect(page.locator('[data-panel="loss"]')).to_have_attribute("data-points", "60")


def test_an_error_stands_beside_its_field_and_keeps_the_input(open_page: OpenPage) -> None:
    page = open_page("/p/browser/launch/?method=vanilla-kd")
    page.get_by_label("Name").fill("kept")
    page.get_by_label("Temperature").fill("-1")

    page.get_by_role("button", name="Launch").click()

    field = page.locator(".field.wrong").filter(has=page.get_by_label("Temperature"))
    expect(field).to_contain_text("must be greater than 0; got -1.")
    expect(page.get_by_label("Temperature")).to_have_value("-1")
    expect(page.get_by_label("Temperature")).to_be_focused()
    expect(page.get_by_label("Name")).to_have_value("kept")


def test_another_method_brings_its_own_settings_and_keeps_what_was_typed(open_page: OpenPage) -> None:
    page = open_page("/p/browser/launch/?method=vanilla-kd")
    page.get_by_label("Name").fill("kept")
    page.get_by_label("Learning rate").fill("0.5")

    page.get_by_label("Method").select_option("ps-kd")

    expect(page.get_by_role("heading", name="Settings of Progressive self-knowledge distillation")).to_be_visible()
    expect(page.get_by_label("Learning rate")).to_have_value("0.5")
    expect(page.get_by_label("Name")).to_have_value("kept")
    expect(page.get_by_label("Temperature")).to_have_count(0)


def test_typing_in_the_search_field_narrows_the_table_and_the_address(open_page: OpenPage) -> None:
    page = open_page("/p/browser/")

    page.get_by_label("Search runs").fill("taught")

    expect(page.locator("td.run-name")).to_have_count(2)  # with its baseline
    expect(page).to_have_url(re.compile("q=taught"))
    expect(page.get_by_label("Search runs")).to_be_focused()


def test_a_method_chosen_before_the_page_has_loaded_brings_its_settings_all_the_same(open_page: OpenPage) -> None:
    page = open_page("/p/browser/")
    held: list[Route] = []
    page.route(re.compile(r"htmx-2"), lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks the function that it is given
    page.goto("/p/browser/launch/?method=vanilla-kd", wait_until="commit")

    page.get_by_label("Method").select_option("supervised")
    assert held
    for route in held:
        route.continue_()

    expect(page.get_by_role("heading", name="Settings of Supervised training")).to_be_visible()
