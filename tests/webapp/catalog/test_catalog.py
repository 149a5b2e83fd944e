"""The catalog in the database, and over REST."""

from io import StringIO

import pytest
from django.core.management import call_command

from engine.spec import catalog
from tests.webapp.conftest import RunMaker, signed_in
from webapp.accounts.models import Project, User
from webapp.catalog.models import Method, ModelRecord, Task
from webapp.runs import lifecycle
from webapp.runs.models import Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def sync() -> str:
    out = StringIO()
    call_command("sync_catalog", stdout=out)
    return out.getvalue()


def test_every_method_and_task_of_the_engine_gets_a_row() -> None:
    said = sync()

    assert set(Method.objects.values_list("pk", flat=True)) == set(catalog.methods())
    assert set(Task.objects.values_list("pk", flat=True)) == set(catalog.tasks())
    assert said == f"{len(catalog.methods())} methods and {len(catalog.tasks())} tasks.\n"


def test_the_rows_have_what_a_form_is_drawn_from() -> None:
    sync()

    card = Method.objects.get(pk="vanilla-kd").card

    rate = card["settings"]["properties"]["learning_rate"]
    assert (rate["type"], rate["default"], rate["exclusiveMinimum"]) == ("number", 0.01, 0)
    assert rate["description"].startswith("Step size")
    assert {"small", "paper", "tiny"} <= card["presets"].keys()
    assert (card["teachers"]["at_least"], card["teachers"]["kinds"], card["baseline"]) == (
        1,
        ["classifier", "causal-lm"],
        "supervised",
    )
    assert {"mlp-16"} <= Task.objects.get(pk="digits").card["architectures"].keys()


def test_again_changes_nothing() -> None:
    sync()
    before = list(Method.objects.values())

    sync()

    assert list(Method.objects.values()) == before


def test_a_method_that_has_gone_stays_but_is_not_available(viewer: User) -> None:
    Method.objects.create(id="alchemy", version=1, family="f", title="Alchemy", summary="s", paper="p", card={})

    said = sync()

    client = signed_in(viewer)
    assert said.endswith("; no longer there: alchemy.\n")
    assert "alchemy" not in [one["id"] for one in client.get("/api/v1/methods/", {"page_size": 200}).json()["results"]]
    assert client.get("/api/v1/methods/alchemy/").json()["available"] is False


def test_a_method_comes_with_its_page(viewer: User, project: Project) -> None:
    found = signed_in(viewer).get("/api/v1/methods/vanilla-kd/").json()

    assert found["readme"] == catalog.readme("vanilla-kd")


def test_an_unknown_method_is_not_found(viewer: User) -> None:
    answer = signed_in(viewer).get("/api/v1/methods/alchemy/")

    assert (answer.status_code, answer.json()) == (404, {"detail": "There is no method 'alchemy'."})


def test_models_know_who_taught_them_and_how_a_spec_names_them(viewer: User, finished_run: RunMaker) -> None:
    teacher = finished_run(name="teacher")
    student = finished_run(name="student", method="vanilla-kd", teachers=[f"run:{teacher.pk}"])
    ModelRecord.objects.get(run=student).parents.set([ModelRecord.objects.get(run=teacher)])

    found = signed_in(viewer).get("/api/v1/models/", {"project": "distillery"}).json()["results"]

    assert [(one["name"], one["reference"], one["parents"]) for one in found] == [
        ("student", f"run:{student.pk}", [f"run:{teacher.pk}"]),
        ("teacher", f"run:{teacher.pk}", []),
    ]


def test_models_of_another_task_and_of_runs_in_the_trash_are_left_out(viewer: User, finished_run: RunMaker) -> None:
    finished_run(name="digits")
    finished_run(name="mnist", task="mnist")
    lifecycle.trash(Run.objects.get(pk=finished_run(name="thrown away").pk), "otto")

    found = signed_in(viewer).get("/api/v1/models/", {"project": "distillery", "task": "digits"}).json()["results"]

    assert [one["name"] for one in found] == ["digits"]


def test_models_are_of_a_project(viewer: User) -> None:
    answer = signed_in(viewer).get("/api/v1/models/")

    assert answer.status_code == 400
    assert answer.json() == {"errors": [{"field": "project", "message": "is required: the project's slug."}]}
