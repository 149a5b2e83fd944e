"""Every page in a real browser, light and dark, wide and narrow: no complaint, nothing that sticks out."""

import json

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Complaints, OpenPage, Site

pytestmark = pytest.mark.browser

PAGES = {
    "projects": "/?all=1",
    "runs": "/p/browser/",
    "empty": "/p/second/",
    "launch": "/p/browser/launch/?method=vanilla-kd",
    "run": "/runs/{taught}/",
    "failed": "/runs/{diverged}/",
    "own table and histogram": "/runs/{itself}/",
    "own bars": "/runs/{standardized}/",
    "validated once": "/runs/{generations}/",
    "model": "/artifacts/{student}/",
    "model as JSON": "/artifacts/{student}/?file=model.json&q=mlp",
    "tensors": "/artifacts/{generation_0}/",
    "chart as JSON": "/artifacts/{likely_label_errors}/",
    "compare": "/p/browser/compare/?runs={taught},{teacher}&baseline={teacher}",
    "methods": "/p/browser/methods/",
    "method": "/p/browser/methods/logit-standardization/",
    "models": "/p/browser/models/",
    "members": "/p/browser/members/",
    "tokens": "/p/browser/tokens/",
    "audit": "/p/browser/audit/",
    "account": "/account/",
    "password": "/account/password/",
    "second factor": "/account/second-factor/",
    "trash": "/p/browser/trash/",
}


STICKING_OUT = """() => {
    const scrolls = (one) => one && one !== document.body && (getComputedStyle(one).overflowX !== "visible" || scrolls(one.parentElement));
    const described = (one) => `${one.tagName} ${one.id} ${one.getAttribute("class") ?? ""}: ${one.textContent.trim().slice(0, 40)}`;
    const far = [...document.body.querySelectorAll("*")].filter((one) => one.getBoundingClientRect().right > innerWidth + 0.5);
    const found = far.filter((one) => one.checkVisibility() && !scrolls(one.parentElement)).map(described);
    return document.documentElement.scrollWidth > innerWidth ? [...found, `page is ${document.documentElement.scrollWidth} wide`] : found;
}"""
"""What reaches beyond the window's right edge, other than in a part that scrolls by itself or in a menu that is closed."""


CURVES_ARE_THERE = """() => [...document.querySelectorAll("#curves, #compare-curves")].every((grid) => grid.querySelector(".chart"))"""


def draw_everything(page: Page) -> None:
    """Charts are drawn when they come into view. Curves are fetched after the page, and move what lies beneath them."""
    page.wait_for_function(CURVES_ARE_THERE)
    for chart in page.locator(".chart:visible:not(.alone)").all():
        chart.scroll_into_view_if_needed()
        chart.locator(".main-svg").first.wait_for()


@pytest.mark.parametrize(("name", "count"), [("itself", 2), ("standardized", 2)])
def test_the_sweep_meets_each_form_of_a_methods_own_chart(name: str, count: int, site: Site, open_page: OpenPage) -> None:
    page = open_page(f"/runs/{site.runs[name]}/")

    own = page.get_by_role("region", name="A closer look")
    expect(own.locator("[data-figure], table")).to_have_count(count)


@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 1440), ("light", 390), ("dark", 390)])
def test_no_page_complains_or_sticks_out(theme: str, width: int, site: Site, open_page: OpenPage, complaints: Complaints) -> None:
    page = open_page("/?all=1", width=width, theme=theme)
    sticking_out = []

    for name, path in PAGES.items():
        page.goto(path.format(**site.runs, **site.artifacts))
        draw_everything(page)
        sticking_out += [f"{name}: {one}" for one in page.evaluate(STICKING_OUT)]

    assert complaints.of == []
    assert sticking_out == []


def test_every_control_has_a_name_that_a_screen_reader_says(site: Site, open_page: OpenPage) -> None:
    page = open_page("/?all=1")
    nameless = []

    for name, path in PAGES.items():
        page.goto(path.format(**site.runs, **site.artifacts))
        found = page.evaluate(
            """() => [...document.querySelectorAll("input:not([type=hidden], [hidden]), select, textarea, button, a[href]")]
                .filter((one) => !one.closest(".modebar") && !(one.labels?.length || one.ariaLabel || one.textContent.trim() || one.title))
                .map((one) => one.outerHTML.slice(0, 120))"""
        )
        nameless += [f"{name}: {one}" for one in found]

    assert nameless == []


def test_the_chosen_theme_is_remembered_and_charts_follow_it(site: Site, open_page: OpenPage) -> None:
    page = open_page(f"/runs/{site.runs['taught']}/", theme="light")
    title = page.locator('[data-panel="loss"] .gtitle')
    light = title.evaluate("(one) => getComputedStyle(one).fill")

    page.get_by_role("button", name="Switch between light and dark").click()

    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(title).not_to_have_css("fill", light)
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_question_is_answered_by_keyboard(site: Site, open_page: OpenPage) -> None:
    page = open_page(f"/runs/{site.runs['taught']}/")
    page.get_by_label("More actions").press("Enter")
    page.get_by_role("button", name="Delete").press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Move this run to the trash?")

    page.keyboard.press("Escape")

    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page).to_have_url(f"{site.address}/runs/{site.runs['taught']}/")


def test_what_was_measured_once_is_a_number_and_becomes_a_curve_with_the_second(site: Site, open_page: OpenPage) -> None:
    address = f"/runs/{site.runs['generations']}/"
    page = open_page(address)
    alone = page.locator('[data-panel="validation/accuracy"]')
    expect(alone).to_contain_text("Validation: Accuracy")
    expect(alone.locator("dd")).to_contain_text("at step")
    expect(alone.locator(".main-svg")).to_have_count(0)

    # The same page as if the run went on, with one more point from the server.
    more = {"series": {"validation/accuracy": [[1000], [0.5]]}, "cut_after": None}
    stream = f"retry: 600000\nevent: points\ndata: {json.dumps(more)}\n\n"
    page.route("**/events?*", lambda route: route.fulfill(content_type="text/event-stream", body=stream))
    page.route(f"**{address}", lambda route: route.fulfill(body=route.fetch().text().replace('data-ended="yes"', 'data-ended="no"')))
    page.reload()

    expect(alone).to_have_attribute("data-points", "2")
    expect(alone.locator(".main-svg").first).to_be_visible()
    expect(alone.locator("dd")).to_have_count(0)
