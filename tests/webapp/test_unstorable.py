"""Text with NUL characters, wherever a request can hold it, is refused with a sentence and never reaches the database."""

import pytest
from django.urls import reverse

from tests.webapp.conftest import RunMaker, signed_in
from webapp.accounts.models import Project, User
from webapp.runs.models import Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

SENTENCE = "must not hold NUL characters or halves of surrogate pairs."


@pytest.fixture
def runs(finished_run: RunMaker) -> list[Run]:
    return [finished_run(name="first"), finished_run(name="second", settings={"batch_size": 8})]


@pytest.mark.parametrize(
    ("address", "field"),
    [
        ("models/?project=distillery&task=%00", "task"),
        ("models/?project=%00", "project"),
        ("runs/{run}/evaluations/?subject=%00", "subject"),
        ("runs/{run}/evaluations/?split=a%00b", "split"),
        ("runs/{run}/metrics/?series=%00", "series"),
        ("runs/{run}/metrics/?after=%00", "after"),
        ("runs/{run}/logs/?tail=%00", "tail"),
        ("compare/curves/?runs={run},{other}&series=%00", "series"),
        ("compare/?runs={run},{other}&baseline=%00", "baseline"),
        ("projects/distillery/runs/?q=%00", "q"),
        ("projects/distillery/runs/?tag=a%00b", "tag"),
        ("projects/distillery/runs/?method=%00", "method"),
        ("projects/distillery/runs/?group=%00", "group"),
        ("projects/distillery/runs/?sort=%00", "sort"),
        ("projects/distillery/runs/?a%00b=1", "a\ufffdb"),
        ("methods/%00/", "The address"),
    ],
)
def test_the_api_names_the_parameter_that_can_not_be_stored(viewer: User, runs: list[Run], address: str, field: str) -> None:
    answer = signed_in(viewer).get("/api/v1/" + address.format(run=runs[0].pk, other=runs[1].pk))

    assert answer.status_code == 400
    assert answer.json() == {"errors": [{"field": field, "message": SENTENCE}]}


@pytest.mark.parametrize(
    ("address", "field"),
    [
        ("/p/distillery/models/?task=%00", "task"),
        ("/p/distillery/compare/curves/?runs={run},{other}&series=%00", "series"),
        ("/p/distillery/compare/?runs={run},{other}&baseline=%00", "baseline"),
        ("/p/distillery/?q=%00", "q"),
        ("/p/distillery/?sort=%00", "sort"),
        ("/p/distillery/?columns=%00&remember=1", "columns"),
        ("/p/distillery/launch/?task=%00", "task"),
        ("/runs/{run}/status/?part=%00", "part"),
        ("/runs/{run}/events?after=%00", "after"),
        ("/sign-in/?next=%00", "next"),
        ("/admin/catalog/method/%00/change/", "The address"),
    ],
)
def test_a_page_names_the_parameter_that_can_not_be_stored(viewer: User, runs: list[Run], address: str, field: str) -> None:
    answer = signed_in(viewer).get(address.format(run=runs[0].pk, other=runs[1].pk))

    assert answer.status_code == 400
    assert f"{field} {SENTENCE}" in answer.content.decode()


def test_the_page_that_refuses_has_the_looks_of_the_site_and_runs_nothing_inline(viewer: User, project: Project) -> None:
    answer = signed_in(viewer).get("/p/distillery/?q=%00")

    page = answer.content.decode()
    assert '<header class="topbar">' in page
    assert "script-src 'self'" in answer["Content-Security-Policy"]


def test_a_cookie_that_can_not_be_stored_is_refused(db: None) -> None:
    client = signed_in(None)
    client.cookies["sessionid"] = "\0" * 32  # sent as octal escapes, as a browser may

    answer = client.get("/")

    assert answer.status_code == 400
    assert f"The cookie sessionid {SENTENCE}" in answer.content.decode()


@pytest.mark.parametrize(
    ("page", "fields"),
    [
        ("member-put", {"username": "a\0b", "role": "viewer"}),
        ("member-remove", {"username": "a\0b"}),
        ("tokens", {"name": "a\0b", "scope": "read", "days": "7"}),
        ("launch", {"method": "supervised", "task": "digits", "name": "a\0b", "idempotency_key": "k"}),
        ("launch", {"json": '{"method": "supervised", "task": "digits", "name": "a\\u0000b"}', "idempotency_key": "k"}),
        ("launch-fields", {"method": "a\0b", "task": "a\0b", "student": "a\0b"}),
    ],
)
def test_no_form_stumbles_over_it(owner: User, project: Project, page: str, fields: dict[str, str]) -> None:
    answer = signed_in(owner).post(reverse(page, args=[project.slug]), fields, format="multipart")

    assert answer.status_code < 500
    assert not Run.objects.filter(project=project).exists()


def test_an_edit_with_it_changes_nothing(owner: User, finished_run: RunMaker) -> None:
    run = finished_run(name="clear")

    answer = signed_in(owner).post(reverse("run-edit", args=[run.pk]), {"name": "a\0b", "notes": "c\0d"}, format="multipart")

    assert answer.status_code == 302
    assert Run.objects.get(pk=run.pk).name == "clear"


def test_the_sign_in_form_refuses_it(db: None) -> None:
    answer = signed_in(None).post("/sign-in/", {"username": "a\0b", "password": "c\0d"}, format="multipart")

    assert answer.status_code == 200
    assert "Null characters are not allowed." in answer.content.decode()
