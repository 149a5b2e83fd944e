"""Pages that are open while something happens: a table whose rows change, and a page whose session ends or that nobody looks at."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from playwright.sync_api import Page, Request, expect

from tests.browser.conftest import OpenPage, Site
from webapp.accounts.models import Project, User
from webapp.launching.launch import launch
from webapp.runs import lifecycle
from webapp.runs.models import Run

pytestmark = pytest.mark.browser

T = TypeVar("T")

LONG = {"task": "digits", "device": "cpu", "method": "supervised", "student": "mlp-64-64", "budget": {"steps": 2_000_000}}


def elsewhere(deed: Callable[[], T]) -> T:
    """Does it in another thread: Django asks no database in a thread with an event loop, and the browser's is in this one."""

    def done() -> T:
        try:
            return deed()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as hand:
        return hand.submit(done).result()


def olga() -> User:
    return User.objects.get(username="olga")


def launched(name: str) -> Run:
    (run,) = elsewhere(lambda: launch(Project.objects.get(slug="browser"), olga(), {**LONG, "name": name}))
    return run


def stop(run: Run) -> None:
    elsewhere(lambda: lifecycle.request_stop(run, olga()))


def signed_in() -> str:
    """The key of a new session."""

    def sign_in() -> str:
        visitor = Client()
        visitor.force_login(olga())
        return str(visitor.cookies[settings.SESSION_COOKIE_NAME].value)

    return elsewhere(sign_in)


def test_a_table_shows_what_happens_without_asking_for_itself_again(open_page: OpenPage) -> None:
    page = open_page("/p/browser/")
    expect(page.locator("#table-hint")).to_be_hidden()
    run = launched("watched in the table")

    expect(page.locator("#table-hint")).to_contain_text("Runs were launched or deleted since this table was loaded.")
    page.locator("#table-hint").get_by_role("link", name="Show").click()
    state = page.locator(f"#state-{run.pk}")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    expect(state.locator(".badge")).to_have_text("running")
    expect(state).to_contain_text("left")
    stop(run)

    expect(state.locator(".badge")).to_have_text("stopped")
    assert [url for url in asked if "/p/browser/" in url and "/events?" not in url] == []


def test_a_sorted_table_leaves_rows_where_they_are_and_says_that_their_order_changed(open_page: OpenPage) -> None:
    run = launched("out of order")
    page = open_page("/p/browser/?sort=state")
    expect(page.locator(f"#state-{run.pk} .badge")).to_have_text("running")
    expect(page.locator("#live-state")).to_be_hidden()

    stop(run)

    expect(page.locator(f"#state-{run.pk} .badge")).to_have_text("stopped")
    expect(page.locator("#table-hint")).to_contain_text("Values have changed since this table was sorted and filtered.")


def test_a_page_whose_session_has_ended_says_so(site: Site, open_page: OpenPage) -> None:
    run = launched("signed out")
    page, key = open_page("/sign-in/"), signed_in()
    page.context.clear_cookies()
    page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": key, "url": site.address}])
    page.goto(f"/runs/{run.pk}/")
    expect(page.locator("#live-state")).to_have_text("live")

    elsewhere(Session.objects.filter(session_key=key).delete)

    expect(page.locator("#live-state")).to_have_text("not live: Sign in first.")
    stop(run)


def test_a_page_that_nobody_looks_at_gives_its_stream_back_and_takes_another_when_it_is_seen(open_page: OpenPage) -> None:
    run = launched("in the background")
    page = open_page(f"/runs/{run.pk}/")
    expect(page.locator("#live-state")).to_have_text("live")

    hide(page, hidden=True)
    page.wait_for_event("requestfailed", is_stream)
    with page.expect_request(is_stream):
        hide(page, hidden=False)

    expect(page.locator("#live-state")).to_have_text("live")
    stop(run)
    expect(page.locator("h1 .badge")).to_have_text("stopped")


def is_stream(request: Request) -> bool:
    return "/events?" in request.url


def hide(page: Page, *, hidden: bool) -> None:
    """As the browser does when another tab is in front."""
    page.evaluate(
        "(hidden) => { Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )
