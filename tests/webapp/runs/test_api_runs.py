"""Runs over REST: as a notebook sees them."""

import json
from typing import Any
from uuid import uuid4

import pytest
from django.urls import reverse

from tests.runs import queued_run
from tests.webapp.conftest import SPEC, RunMaker, signed_in
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import AuditEntry, Project, User
from webapp.gate.rates import Rate
from webapp.runs import lifecycle
from webapp.runs.models import Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

RUNS = "/api/v1/projects/distillery/runs/"


def test_a_launch_answers_with_the_queued_run(operator: User) -> None:
    answer = signed_in(operator).post(RUNS, {**SPEC, "name": "first"})

    assert answer.status_code == 201
    (run,) = answer.json()["runs"]
    assert {key: run[key] for key in ("name", "state", "method", "task", "student", "step", "total_steps", "project", "created_by")} == {
        "name": "first",
        "state": "queued",
        "method": "supervised",
        "task": "digits",
        "student": "mlp-16",
        "step": 0,
        "total_steps": 20,
        "project": "distillery",
        "created_by": "otto",
    }


def test_the_same_idempotency_key_answers_200_with_the_same_runs(operator: User) -> None:
    client = signed_in(operator)
    first = client.post(RUNS, SPEC, headers={"Idempotency-Key": "k1"})

    again = client.post(RUNS, SPEC, headers={"Idempotency-Key": "k1"})

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["runs"][0]["id"] == first.json()["runs"][0]["id"]


def test_the_same_idempotency_key_with_another_body_is_a_conflict(operator: User) -> None:
    client = signed_in(operator)
    client.post(RUNS, SPEC, headers={"Idempotency-Key": "k1"})

    answer = client.post(RUNS, {**SPEC, "seed": 1}, headers={"Idempotency-Key": "k1"})

    assert answer.status_code == 409
    assert answer.json() == {"detail": "The idempotency key 'k1' was used with another body; send a new key, or the same body."}


def test_a_malformed_spec_is_refused_field_by_field(operator: User) -> None:
    answer = signed_in(operator).post(RUNS, {"method": "supervised", "task": "digits", "budget": {"steps": 0}, "seed": "one"})

    assert answer.status_code == 400
    assert answer.json() == {
        "errors": [
            {"field": "seed", "message": "must be a whole number; got 'one'."},
            {"field": "budget.steps", "message": "must be at least 1; got 0."},
        ]
    }


def test_a_setting_out_of_range_is_refused_with_its_path(operator: User) -> None:
    answer = signed_in(operator).post(RUNS, {**SPEC, "settings": {"batch_size": 0}})

    assert answer.status_code == 400
    assert answer.json() == {"errors": [{"field": "settings.batch_size", "message": "must be at least 1; got 0."}]}


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"seed": NaN}', b"[" * 100_000])
def test_a_body_that_is_not_json_is_refused(operator: User, body: bytes) -> None:
    answer = signed_in(operator).generic("POST", RUNS, body, content_type="application/json")

    assert answer.status_code == 400
    assert answer.json() == {"errors": [{"field": "", "message": "The body must be JSON in UTF-8."}]}


def test_json_that_is_nested_without_end_is_refused(operator: User) -> None:
    answer = signed_in(operator).generic("POST", RUNS, b"[" * 100 + b"]" * 100, content_type="application/json")

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["message"] == "is nested more than 32 levels deep."


def test_a_form_is_not_json(operator: User) -> None:
    answer = signed_in(operator).generic("POST", RUNS, b"a=b", content_type="application/x-www-form-urlencoded")

    assert answer.status_code == 415
    assert answer.json() == {"detail": "Send the body as JSON, with the header Content-Type: application/json."}


def test_a_body_with_a_name_of_ten_megabytes_is_over_the_limit(operator: User) -> None:
    answer = signed_in(operator).post(RUNS, {**SPEC, "name": "n" * 10_000_000})

    assert answer.status_code == 413
    assert answer.json() == {"detail": "The body of a request may have at most 1,048,576 bytes."}
    assert not Run.objects.exists()


def test_launches_are_limited_by_page_and_api_together_and_lists_are_not(operator: User, settings: Any) -> None:
    settings.RATES = settings.RATES | {"launch": Rate(2, 60)}
    client = signed_in(operator)

    codes = [client.post(RUNS, SPEC).status_code for _ in range(3)]

    assert codes == [201, 201, 429]
    page = as_(operator).post("/p/distillery/launch/", {"json": json.dumps(SPEC), "idempotency_key": "k"})
    assert page.status_code == 429 and "Too many launches; you may launch again in 30 seconds." in text_of(page)
    assert as_(operator).post(reverse("run-clone", args=[Run.objects.first().pk])).status_code == 429
    assert Run.objects.count() == 2
    assert client.get(RUNS).status_code == 200


def test_a_run_tells_its_spec_its_numbers_and_its_state(finished_run: RunMaker, viewer: User) -> None:
    run = finished_run(metrics={"accuracy": 0.875, "ece": None})

    found = signed_in(viewer).get(f"/api/v1/runs/{run.pk}/").json()

    assert found["metrics"] == {"accuracy": 0.875, "ece": None}
    assert (found["state"], found["step"], found["attempt"], found["spec"]["method"]) == ("succeeded", 20, 1, "supervised")


def test_the_list_has_pages_with_addresses_of_their_neighbors(operator: User, project: Project) -> None:
    for index in range(3):
        queued_run(project, name=f"run {index}")
    client = signed_in(operator)

    first = client.get(RUNS, {"page_size": 2, "sort": "name"}).json()
    second = client.get(first["next"]).json()

    assert [run["name"] for run in first["results"]] == ["run 0", "run 1"]
    assert [run["name"] for run in second["results"]] == ["run 2"]
    assert (first["count"], first["previous"], second["next"]) == (3, None, None)
    assert client.get(second["previous"]).json()["results"] == first["results"]


@pytest.mark.parametrize(
    ("parameters", "field", "message"),
    [
        ({"state": "asleep"}, "state", "Select a valid choice. asleep is not one of the available choices."),
        ({"created_after": "yesterday"}, "created_after", "Enter a valid date/time."),
        ({"page": "0"}, "page", "must be a whole number from 1 to 1000000; got '0'."),
        ({"page_size": "1000"}, "page_size", "must be a whole number from 1 to 200; got '1000'."),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(viewer: User, parameters: dict[str, str], field: str, message: str) -> None:
    answer = signed_in(viewer).get(RUNS, parameters)

    assert answer.status_code == 400
    assert answer.json() == {"errors": [{"field": field, "message": message}]}


def test_sorting_by_an_unknown_name_tells_the_known_ones(viewer: User, finished_run: RunMaker) -> None:
    finished_run(metrics={"accuracy": 0.5})

    answer = signed_in(viewer).get(RUNS, {"sort": "-beauty"})

    assert answer.status_code == 400
    assert answer.json()["errors"] == [
        {
            "field": "sort",
            "message": "there is nothing to sort by with the name 'beauty'; choose one of created, finished, name, state, method, task, seed,"
            " priority, step, seconds, accuracy.",
        }
    ]


def test_edit_changes_only_what_is_named(operator: User, project: Project) -> None:
    run = queued_run(project, name="before")

    answer = signed_in(operator).patch(f"/api/v1/runs/{run.pk}/", {"tags": ["b", "a", "b"], "notes": "Why.", "priority": -5})

    assert answer.status_code == 200
    assert {key: answer.json()[key] for key in ("name", "notes", "tags", "priority")} == {
        "name": "before",
        "notes": "Why.",
        "tags": ["b", "a"],
        "priority": -5,
    }


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"name": ""}, "name", "must not be empty."),
        ({"name": "n" * 201}, "name", "must have at most 200 characters; got 201."),
        ({"state": "succeeded"}, "state", "is not a known field; remove it or check its spelling."),
        ({"priority": 101}, "priority", "must be at most 100; got 101."),
        ({"tags": [""]}, "tags.0", "must not be empty."),
        ([], "", "the body must be a JSON object with the fields to change."),
    ],
)
def test_an_edit_that_makes_no_sense_is_refused(operator: User, project: Project, changes: Any, field: str, message: str) -> None:
    run = queued_run(project)

    answer = signed_in(operator).patch(f"/api/v1/runs/{run.pk}/", changes)

    assert answer.status_code == 400
    assert answer.json() == {"errors": [{"field": field, "message": message}]}


def test_stop_of_a_waiting_run_ends_it_at_once_and_is_in_the_audit_trail(operator: User, project: Project) -> None:
    run = queued_run(project)

    answer = signed_in(operator).post(f"/api/v1/runs/{run.pk}/stop/")

    assert (answer.status_code, answer.json()["state"]) == (200, "stopped")
    assert AuditEntry.objects.get(verb="stopped").target == f"run {run.pk}"


def test_stop_of_a_held_run_is_a_request(operator: User, running_run: RunMaker) -> None:
    run = running_run()

    answer = signed_in(operator).post(f"/api/v1/runs/{run.pk}/stop/")

    assert (answer.status_code, answer.json()["state"], answer.json()["status"]) == (200, "running", "stopping")


def test_stop_of_a_finished_run_is_a_conflict(operator: User, finished_run: RunMaker) -> None:
    run = finished_run()

    answer = signed_in(operator).post(f"/api/v1/runs/{run.pk}/stop/")

    assert answer.status_code == 409
    assert answer.json() == {"detail": "The run has already succeeded, so it can't be stopped."}
    assert not AuditEntry.objects.filter(verb="stopped").exists()


@pytest.mark.parametrize(("verb", "checkpoint"), [("resume", 10), ("retry", None)])
def test_a_stopped_run_can_go_on_or_begin_again(operator: User, project: Project, verb: str, checkpoint: int | None) -> None:
    run = lifecycle.request_stop(queued_run(project), "otto")
    Run.objects.filter(pk=run.pk).update(checkpoint_step=10, checkpoint_path="somewhere")

    answer = signed_in(operator).post(f"/api/v1/runs/{run.pk}/{verb}/")

    assert (answer.status_code, answer.json()["state"], answer.json()["checkpoint_step"]) == (200, "queued", checkpoint)


def test_resume_of_a_running_run_is_a_conflict(operator: User, running_run: RunMaker) -> None:
    run = running_run()

    answer = signed_in(operator).post(f"/api/v1/runs/{run.pk}/resume/")

    assert answer.status_code == 409
    assert answer.json() == {"detail": "The run is running, so it can't be resumed."}


def test_a_clone_is_a_new_run_that_knows_its_origin(operator: User, project: Project) -> None:
    run = queued_run(project)

    answer = signed_in(operator).post(f"/api/v1/runs/{run.pk}/clone/", {"seed": 9})

    assert answer.status_code == 201
    assert (answer.json()["cloned_from"], answer.json()["seed"]) == (str(run.pk), 9)


def test_a_deleted_run_leaves_the_list_and_comes_back(operator: User, project: Project) -> None:
    run, client = queued_run(project), signed_in(operator)

    client.delete(f"/api/v1/runs/{run.pk}/")
    gone, trash = client.get(RUNS).json()["count"], client.get(RUNS, {"trash": "true"}).json()["count"]
    client.post(f"/api/v1/runs/{run.pk}/restore/")

    assert (gone, trash) == (0, 1)
    assert client.get(RUNS).json()["count"] == 1


def test_a_held_run_is_not_deleted(operator: User, running_run: RunMaker) -> None:
    run = running_run()

    answer = signed_in(operator).delete(f"/api/v1/runs/{run.pk}/")

    assert answer.status_code == 409
    assert answer.json() == {"detail": "The run is running; stop it before deleting it."}


def test_a_run_that_is_not_there_is_not_found(operator: User) -> None:
    answer = signed_in(operator).get(f"/api/v1/runs/{uuid4()}/")

    assert answer.status_code == 404
    assert answer.json() == {"detail": "There is no such run, or it is not in a project of yours."}
