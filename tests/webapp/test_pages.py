"""Who may see which page, and what every page has."""

import base64
import hashlib
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client, RequestFactory
from django.urls import reverse
from django.views.defaults import server_error

from tests.webapp.conftest import RunMaker
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import Project, User
from webapp.runs.models import Attempt, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def pages_of(run: Run) -> list[str]:
    slug = run.project.slug
    names = ["runs", "models", "methods", "members", "tokens", "trash"]
    whole = [reverse(name, args=[slug]) for name in names] + [reverse("method-detail", args=[slug, "vanilla-kd"])]
    parts = [f"{reverse('run-status', args=[run.pk])}?part={part}" for part in ("header", "evaluations", "activity")]
    return [*whole, reverse("run-detail", args=[run.pk]), reverse("run-curves", args=[run.pk]), *parts]


def test_every_page_asks_a_visitor_to_sign_in(finished_run: RunMaker) -> None:
    addresses = [*pages_of(finished_run()), reverse("home")]

    answers = [as_(None).get(address) for address in addresses]

    assert {answer.status_code for answer in answers} == {302}
    assert all(answer["Location"].startswith("/sign-in/?next=") for answer in answers)


def test_no_page_of_a_project_exists_for_a_stranger(finished_run: RunMaker, stranger: User) -> None:
    answers = [as_(stranger).get(address) for address in pages_of(finished_run())]

    assert {answer.status_code for answer in answers} == {404}


def test_a_viewer_sees_every_page_but_no_button_that_changes_a_run(finished_run: RunMaker, viewer: User) -> None:
    run = finished_run()

    answers = [as_(viewer).get(address) for address in pages_of(run)]

    assert {answer.status_code for answer in answers} == {200}
    assert reverse("run-delete", args=[run.pk]) not in text_of(as_(viewer).get(reverse("run-detail", args=[run.pk])))


@pytest.mark.parametrize("name", ["run-stop", "run-resume", "run-retry", "run-clone", "run-delete", "run-restore", "run-edit"])
def test_a_viewer_changes_nothing(name: str, finished_run: RunMaker, viewer: User) -> None:
    answer = as_(viewer).post(reverse(name, args=[finished_run().pk]))

    assert answer.status_code == 403


def test_a_viewer_can_not_launch(project: Project, viewer: User) -> None:
    assert as_(viewer).get(reverse("launch", args=[project.slug])).status_code == 403


def test_someone_with_one_project_is_taken_to_it(project: Project, viewer: User) -> None:
    answer = as_(viewer).get(reverse("home"))

    assert answer["Location"] == reverse("runs", args=[project.slug])


def test_the_list_of_projects_counts_runs_and_those_under_way(finished_run: RunMaker, running_run: RunMaker, viewer: User) -> None:
    finished_run(), running_run()

    page = text_of(as_(viewer).get(reverse("home") + "?all=1"))

    assert "2 runs" in page and "1 under way" in page and "silent" not in page


def test_the_list_of_projects_counts_the_runs_whose_worker_is_silent_once_each(running_run: RunMaker, viewer: User, settings: Any) -> None:
    late = [running_run(name=f"late {number}") for number in range(2)]
    heard = running_run(name="heard")
    Attempt.objects.filter(run__in=late).update(heartbeat_at=Now() - timedelta(seconds=settings.SILENT_SECONDS + 1))
    Attempt.objects.create(run=heard, number=99, worker="not the current one", heartbeat_at=Now() - timedelta(hours=1))

    page = text_of(as_(viewer).get(reverse("home") + "?all=1"))

    assert "3 under way" in page and "2 silent" in page


def test_what_is_not_there_is_said_in_a_sentence_on_a_page_of_ours(project: Project, viewer: User) -> None:
    missing = as_(viewer).get(reverse("run-detail", args=["00000000-0000-0000-0000-000000000000"]))
    mistyped = as_(viewer).get("/no/such/page/")

    assert missing.status_code == mistyped.status_code == 404
    assert "There is no such run, or it is not in a project of yours." in text_of(missing)
    assert "It may be mistyped" in text_of(mistyped) and "All projects" in text_of(mistyped)


def test_a_page_that_is_not_there_asks_the_database_nothing(viewer: User, django_assert_num_queries: Any) -> None:
    """It is made in a thread that gives no connection back, and also where the database is what is away."""
    client = as_(viewer)

    with django_assert_num_queries(0):
        answer = client.get("/no/such/page/")

    assert answer.status_code == 404


def test_a_page_for_another_role_says_which(project: Project, viewer: User) -> None:
    page = text_of(as_(viewer).get(reverse("launch", args=[project.slug])))

    assert "This needs the role operator in Distillery; yours is viewer." in page and "All projects" in page


def test_an_error_of_the_server_has_a_page_without_any_data(rf: RequestFactory) -> None:
    answer = server_error(rf.get("/"))

    assert answer.status_code == 500 and "Something went wrong on the server" in text_of(answer)


def test_pages_allow_no_inline_script_or_style_without_the_nonce(finished_run: RunMaker, viewer: User) -> None:
    answer = as_(viewer).get(reverse("run-detail", args=[finished_run().pk]))

    policy = answer["Content-Security-Policy"]
    of_nothing = base64.b64encode(hashlib.sha256(b"").digest()).decode()
    # What Plotly sets is an empty attribute. The directives come in any order.
    assert f"style-src-attr 'unsafe-hashes' 'sha256-{of_nothing}'" in policy.split("; ")
    assert "unsafe" not in policy.replace("'unsafe-hashes'", "")
    nonce = re.search(r"style-src 'self' 'nonce-([^']+)'", policy)
    assert nonce is not None
    elements = re.findall(r"<style[^>]*>", text_of(answer))
    assert elements and all(f'nonce="{nonce[1]}"' in element for element in elements)
    assert not re.search(r"<[^>]+\s(style|onclick)=", text_of(answer))


def test_plotlys_bundle_may_be_kept_forever_under_its_version(db: None) -> None:
    from webapp.figures.plotly import VERSION

    found, other = (Client().get(reverse("plotly", args=[version]), HTTP_ACCEPT_ENCODING="gzip") for version in (VERSION, "0.0.1"))

    assert found["Cache-Control"] == "public, max-age=31536000, immutable" and found["Content-Encoding"] == "gzip"
    assert other.status_code == 404
