"""Numbers in addresses and forms: whatever stands there, a page or a sentence comes back, never an error of the server."""

from typing import Any

import pytest
from django.urls import reverse

from tests.runs import new_run
from tests.webapp.conftest import RunMaker, signed_in
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import Project, User
from webapp.runs.live.news import Mark
from webapp.runs.models import Run
from webapp.runs.page.forms import USUAL_POINTS, ChartWidth

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

ODD = ["", " ", "-1", "--5", "0", "1.5", "1e3", "²", "٣", "x", "+5", "1_000", "99999999999999999999", "9" * 5000]
"""Among them a superscript, which is a digit to Python, a digit of another script, and more digits than Python converts."""


@pytest.mark.parametrize(
    ("page", "parameter"), [("runs", "page"), ("trash", "page"), ("runs", "q"), ("run-curves", "width"), ("artifact", "start")]
)
def test_a_page_is_shown_whatever_number_its_address_holds(finished_run: RunMaker, viewer: User, page: str, parameter: str) -> None:
    run, browser = finished_run(), as_(viewer)
    subject: dict[str, Any] = {"run-curves": run.pk, "artifact": run.artifacts.get().pk}

    found = {text: browser.get(reverse(page, args=[subject.get(page, "distillery")]), {parameter: text}).status_code for text in ODD}

    assert found == dict.fromkeys(ODD, 200)


@pytest.mark.parametrize("text", ["", "²", "x", "99999"])
def test_a_page_that_there_is_not_is_the_nearest_one(project: Project, viewer: User, text: str) -> None:
    new_run(project, name="here")

    page = text_of(as_(viewer).get(reverse("runs", args=["distillery"]), {"page": text}))

    assert "here" in page and 'class="notice error"' not in page


@pytest.mark.parametrize("text", ["--5", "²", "٣", "x", "1.5", "101", "-101", "99999999999999999999", "9" * 5000])
def test_a_priority_that_makes_no_sense_is_refused_with_a_sentence(project: Project, operator: User, text: str) -> None:
    run = new_run(project, name="before", priority=5)

    page = text_of(as_(operator).post(reverse("run-edit", args=[run.pk]), {"name": "after", "priority": text}, follow=True))

    assert "priority: must be a whole number from -100 to 100; got &#x27;" in page
    run.refresh_from_db()
    assert (run.name, run.priority) == ("before", 5)


@pytest.mark.parametrize(("text", "priority"), [("", 5), ("-100", -100), (" -7 ", -7)])
def test_a_priority_is_changed_where_one_is_given(project: Project, operator: User, text: str, priority: int) -> None:
    run = new_run(project, name="before", priority=5)

    as_(operator).post(reverse("run-edit", args=[run.pk]), {"name": "after", "priority": text})

    run.refresh_from_db()
    assert (run.name, run.priority) == ("after", priority)


@pytest.mark.parametrize(
    ("text", "points"), [("", USUAL_POINTS), ("²", USUAL_POINTS), ("100000", USUAL_POINTS), ("0", 400), ("700", 1400), ("9000", 4000)]
)
def test_a_chart_has_two_points_a_pixel_within_reason(text: str, points: int) -> None:
    assert ChartWidth({"width": text}).points == points


WRONG = [text for text in ODD if text.strip() and text not in {"0", "99999999999999999999"}]


@pytest.mark.parametrize(
    ("address", "parameter"),
    [("projects/distillery/runs/", "page"), ("projects/distillery/runs/", "page_size"), ("runs/{run}/logs/", "limit")],
)
def test_the_api_refuses_what_is_no_number_in_range(project: Project, viewer: User, address: str, parameter: str) -> None:
    run, client = new_run(project), signed_in(viewer)

    for text in [*WRONG, "0", "99999999999999999999"]:
        response = client.get("/api/v1/" + address.format(run=run.pk), {parameter: text})

        (problem,) = response.json()["errors"]
        assert (response.status_code, problem["field"]) == (400, parameter)
        assert problem["message"].startswith("must be a whole number from 1 to ")
        assert problem["message"].endswith(f"; got {text!r:.80}.")


def test_the_api_refuses_what_is_no_cursor(project: Project, viewer: User) -> None:
    run, client = new_run(project), signed_in(viewer)

    refused = [client.get(f"/api/v1/runs/{run.pk}/metrics/", {"after": text}) for text in WRONG]

    assert {(response.status_code, response.json()["errors"][0]["field"]) for response in refused} == {(400, "after")}


@pytest.mark.parametrize(
    ("text", "mark"), [("3~4~5", Mark("3", 4, 5)), ("٣~²~-1", Mark()), ("~", Mark()), ("9" * 5000, Mark()), ("7~8", Mark("7", 8))]
)
def test_of_a_mark_what_is_malformed_counts_as_not_seen(text: str, mark: Mark) -> None:
    assert Mark.parse(text) == mark


@pytest.mark.parametrize("field", ["budget.steps", "budget.epochs", "settings.batch_size", "task_options.train_limit", "seed", "seeds"])
def test_the_launch_form_takes_any_number(project: Project, operator: User, field: str) -> None:
    browser = as_(operator)

    for text in ("--5", "²", "1.5", "9" * 400, "9" * 4300, "9" * 5000, "1e400"):
        form = {"method": "supervised", "task": "digits", "student": "mlp-16", "idempotency_key": "k", field: text}
        hint = browser.post(reverse("launch-budget", args=[project.slug]), form)
        launched = browser.post(reverse("launch", args=[project.slug]), form)
        assert (text[:9], hint.status_code, launched.status_code) == (text[:9], 200, 400)

    assert not Run.objects.exists()
