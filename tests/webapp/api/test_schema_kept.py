"""The schema is made once and served to everybody."""

import json
import threading
from typing import Any

import pytest
import yaml
from django.test import Client

from tests.webapp.conftest import signed_in, with_token
from webapp.accounts.models import User
from webapp.api import schema as served

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

SCHEMA = "/api/v1/schema/"


@pytest.fixture(autouse=True)
def _not_made_yet() -> None:
    served._made.cache_clear()
    served._schema.cache_clear()


@pytest.mark.parametrize(
    ("accept", "media_type", "read"),
    [
        ("application/vnd.oai.openapi+json", "application/vnd.oai.openapi+json", json.loads),
        ("application/json", "application/json", json.loads),
        ("application/yaml", "application/yaml", yaml.safe_load),
        ("*/*", "application/vnd.oai.openapi", yaml.safe_load),
    ],
)
def test_it_comes_as_json_or_yaml_and_says_the_same(accept: str, media_type: str, read: Any) -> None:
    answer = Client().get(SCHEMA, headers={"Accept": accept})

    assert answer["Content-Type"] == f"{media_type}; charset=utf-8"
    assert read(answer.content) == json.loads(Client().get(SCHEMA, headers={"Accept": "application/json"}).content)
    assert read(answer.content)["info"]["title"] == "Stillhouse"
    assert "Accept" in answer["Vary"] and answer["Cache-Control"] == "public, max-age=300"


def test_a_hundred_at_once_make_it_once() -> None:
    answers: list[bytes] = []
    barrier = threading.Barrier(100)

    def ask() -> None:
        barrier.wait()
        answers.append(Client().get(SCHEMA).content)

    threads = [threading.Thread(target=ask) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(answers) == 100 and len(set(answers)) == 1
    assert (served._schema.cache_info().misses, served._made.cache_info().misses) == (1, 1)


def test_nobody_is_looked_up_for_it(viewer: User, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        answers = [signed_in(None).get(SCHEMA), with_token("shp_unknown").get(SCHEMA), Client().get("/api/v1/docs/")]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert {answer["Cache-Control"] for answer in answers} == {"public, max-age=300"}
    assert all("Cookie" not in answer.headers.get("Vary", "") and not answer.cookies for answer in answers)


def test_the_script_of_its_page_has_a_forms_token_and_is_not_kept(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        script = Client().get("/api/v1/docs/?script=")

    assert (script.status_code, script["Cache-Control"]) == (200, "private, no-store")
    assert script.cookies["csrftoken"].value


def test_who_has_it_is_told_so() -> None:
    etag = Client().get(SCHEMA)["ETag"]

    again = Client().get(SCHEMA, headers={"If-None-Match": f'"old", {etag}'})
    as_json = Client().get(SCHEMA, headers={"If-None-Match": etag, "Accept": "application/json"})

    assert (again.status_code, again.content, again["ETag"]) == (304, b"", etag)
    assert as_json.status_code == 200 and as_json["ETag"] != etag
