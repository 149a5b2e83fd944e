"""What browsers and proxies may keep: files and the schema; nothing of a person."""

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.staticfiles import finders
from django.test import AsyncClient, Client
from django.urls import reverse

from tests.webapp.conftest import RunMaker, signed_in
from tests.webapp.pages import as_
from webapp.accounts.models import Project, User

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

PRIVATE = {"private", "no-store"}


def kept(answer: Any) -> tuple[set[str], set[str]]:
    """What its headers say of keeping it, and what it depends on."""
    control = {word.strip() for word in answer.headers["Cache-Control"].split(",")}
    return control, {name.strip() for name in answer.headers.get("Vary", "").split(",")}


@pytest.mark.parametrize(
    "address",
    [
        "/?all=1",
        "/p/distillery/",
        "/p/distillery/members/",
        "/p/distillery/tokens/",
        "/p/distillery/launch/",
        "/no/such/page/",
        "/p/other/",
        "/admin/",
    ],
)
def test_no_page_is_kept_nor_its_errors(operator: User, address: str) -> None:
    control, vary = kept(as_(operator).get(address))

    assert control >= PRIVATE
    assert {"Cookie", "Authorization", "HX-Request"} <= vary


@pytest.mark.parametrize("address", ["me/", "methods/", "projects/distillery/runs/", "projects/other/runs/", "no/such/", "runs/%00/"])
def test_nothing_of_the_api_is_kept_nor_its_errors(operator: User, address: str) -> None:
    control, vary = kept(signed_in(operator).get(f"/api/v1/{address}"))

    assert control >= PRIVATE
    assert {"Cookie", "Authorization"} <= vary


@pytest.mark.parametrize("address", ["/sign-in/", "/p/distillery/", "/api/v1/me/", "/readyz", "/metrics"])
def test_what_a_stranger_gets_is_not_kept_either(address: str) -> None:
    assert kept(Client().get(address))[0] >= PRIVATE


def test_a_new_token_and_a_redirect_are_not_kept(viewer: User, project: Project) -> None:
    made = as_(viewer).post(reverse("tokens", args=[project.slug]), {"name": "notebook", "scope": "read", "days": "30"})
    moved = as_(viewer).get("/")

    assert "shp_" in made.content.decode() and moved.status_code == 302
    assert kept(made)[0] == kept(moved)[0] == PRIVATE


@pytest.mark.parametrize("method", ["get", "head"])
def test_a_download_is_not_kept(viewer: User, finished_run: RunMaker, store: Any, method: str) -> None:
    artifact = finished_run().artifacts.get()
    (store / artifact.path).parent.mkdir(parents=True)
    (store / artifact.path).write_bytes(b"x")

    answer = getattr(signed_in(viewer), method)(f"/api/v1/artifacts/{artifact.pk}/download/")

    assert answer.status_code == 200 and kept(answer)[0] == PRIVATE
    assert answer["ETag"] == f'"{"0" * 64}"'  # a notebook that has the file need not fetch it again


def test_a_stream_is_not_kept(viewer: User, finished_run: RunMaker) -> None:
    run = finished_run()

    async def listen() -> tuple[set[str], set[str]]:
        client = AsyncClient()
        await client.aforce_login(viewer)
        return kept(await client.get(reverse("run-events", args=[run.pk])))

    control, vary = async_to_sync(listen)()  # what asks the database does it in this thread, on this test's connection

    assert "no-store" in control and "public" not in control
    assert {"Cookie", "Authorization"} <= vary


def test_files_may_be_kept_by_everybody() -> None:
    assert finders.find("stillhouse/theme.css") is not None

    answer = Client().get("/static/stillhouse/theme.css")
    answer.close()

    control, vary = kept(answer)
    assert "public" in control and "no-store" not in control and "Cookie" not in vary
