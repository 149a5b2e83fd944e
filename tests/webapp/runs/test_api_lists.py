"""Lists over REST: what they narrow down by, in which order they come, and how a run looks as JSON."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from engine.events import Outcome
from tests.runs import new_run, queued_run, running_claim
from tests.webapp.conftest import RunMaker, signed_in
from tests.webapp.runs.history.test_curves import commit
from tests.webapp.runs.test_api_record import get
from webapp.accounts.models import Project, User
from webapp.runs import lifecycle
from webapp.runs.models import Artifact, Attempt, Evaluation, LatestMetric, LogLine, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def told_of(person: User, run_id: UUID) -> Any:
    return signed_in(person).get(f"/api/v1/runs/{run_id}/").json()


@pytest.fixture
def run(project: Project) -> Run:
    return new_run(project)


def test_a_run_under_way_tells_where_it_is_and_what_is_left(project: Project, viewer: User) -> None:
    held = running_claim(project=project)
    Run.objects.update(step=5, phase="distill", phase_index=1, phase_count=3, steps_per_second=0.5, train_seconds=9.5)

    found = told_of(viewer, held.run_id)

    told = {
        key: found[key] for key in ("state", "status", "step", "total_steps", "phase", "phase_index", "phase_count", "steps_per_second")
    }
    assert told == {
        "state": "running",
        "status": "running",
        "step": 5,
        "total_steps": 20,
        "phase": "distill",
        "phase_index": 1,
        "phase_count": 3,
        "steps_per_second": 0.5,
    }
    assert (found["seconds_left"], found["train_seconds"], found["reason"]) == (30.0, 9.5, "Runs on CPU, 1 thread.")
    assert [found[key] is not None for key in ("created_at", "queued_at", "started_at", "finished_at", "deleted_at")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_a_silent_run_and_one_that_failed_say_why(project: Project, viewer: User) -> None:
    silent, failed = running_claim(project=project), running_claim(project=project)
    Attempt.objects.filter(run_id=silent.run_id).update(silent_since=timezone.now())
    lifecycle.settle(failed.token, Outcome("failed", 3, "loss became nan at step 3."))

    one, other = (told_of(viewer, held.run_id) for held in (silent, failed))

    assert (one["state"], one["status"]) == ("running", "silent")
    assert one["reason"].startswith("Nothing was heard from worker-1 for a while.")
    assert (other["status"], other["reason"], other["seconds_left"], other["steps_per_second"]) == (
        "failed",
        "loss became nan at step 3.",
        None,
        None,
    )


def test_the_list_and_the_run_itself_say_the_same(project: Project, operator: User, finished_run: RunMaker) -> None:
    baseline, run = finished_run(), finished_run(name="<i>one</i>", metrics={"accuracy": 0.5, "auroc": None})
    Run.objects.filter(pk=run.pk).update(baseline=baseline, cloned_from=run, tags=["warm"], notes="why", created_by=operator)

    whole = told_of(operator, run.pk)
    (line,) = get(operator, "projects/distillery/runs/", tag="warm")["results"]

    assert line == {key: whole[key] for key in line}
    assert set(whole) - set(line) == {
        "project",
        "notes",
        "spec",
        "cloned_from",
        "continued_from",
        "attempt",
        "checkpoint_step",
        "keep_checkpoints",
    }
    assert (whole["baseline"], whole["cloned_from"]) == (str(baseline.pk), str(run.pk))
    assert (whole["name"], whole["notes"]) == ("<i>one</i>", "why")
    assert whole["metrics"] == {"accuracy": 0.5, "auroc": None}


EVALUATIONS: list[tuple[dict[str, str], list[int]]] = [
    ({}, [1, 2, 3, 3, 3]),
    ({"subject": "teacher"}, [3]),
    ({"split": "validation"}, [1, 2, 3]),
    ({"split": "test", "subject": "student"}, [3]),
    ({"final": "true"}, [3, 3, 3]),
    ({"final": "false"}, [1, 2, 3, 3, 3]),
    ({"final": "1", "split": "validation"}, [3]),
]


def test_evaluations_are_narrowed_down_and_come_by_step(run: Run, viewer: User) -> None:
    other = new_run(run.project)
    for step, subject, split, final in (
        (3, "student", "test", True),
        (3, "teacher", "test", True),
        (3, "student", "validation", True),
        (1, "student", "validation", False),
        (2, "student", "validation", False),
    ):
        for one in (run, other):
            Evaluation.objects.create(run=one, attempt=1, step=step, subject=subject, split=split, final=final, metrics={"nll": 1.0})

    found = [get(viewer, f"runs/{run.pk}/evaluations/", **parameters) for parameters, _ in EVALUATIONS]

    assert [[one["step"] for one in each["results"]] for each in found] == [steps for _, steps in EVALUATIONS]
    assert [each["count"] for each in found] == [len(steps) for _, steps in EVALUATIONS]


def test_artifacts_come_newest_attempt_first_and_name_no_place_on_the_servers_disk(run: Run, viewer: User) -> None:
    for attempt, name in ((1, "b"), (2, "b"), (2, "a"), (10, "c")):
        Artifact.objects.create(
            run=run, attempt=attempt, name=name, kind="other", path="secret/place", bytes=5, sha256="0" * 64, meta={"k": 1}
        )

    found = get(viewer, f"runs/{run.pk}/artifacts/")["results"]

    assert [(one["attempt"], one["name"]) for one in found] == [(10, "c"), (2, "a"), (2, "b"), (1, "b")]
    assert set(found[0]) == {"id", "attempt", "name", "kind", "bytes", "sha256", "meta", "created_at"}
    assert found[0]["meta"] == {"k": 1}


def test_a_list_is_read_page_by_page_without_a_gap(run: Run, viewer: User) -> None:
    now = timezone.now()
    for number in range(1, 6):
        Attempt.objects.create(run=run, number=number, worker=f"w{number}", heartbeat_at=now - timedelta(hours=number))
    client, address, seen = signed_in(viewer), f"/api/v1/runs/{run.pk}/attempts/?page_size=2", []

    while address:
        page = client.get(address).json()
        seen.append([one["number"] for one in page["results"]])
        address = page["next"]

    assert seen == [[1, 2], [3, 4], [5]]
    assert page["count"] == 5


def test_metrics_are_of_the_named_series_and_the_steps_between_both_ends(run: Run, viewer: User) -> None:
    commit(run, {name: {step: float(step) for step in range(1, 6)} for name in ("loss", "loss/kd", "other")})
    address = f"runs/{run.pk}/metrics/"

    named = get(viewer, address, series=" loss ,,loss/kd,unheard of", first="2", last="3")["series"]
    empty = get(viewer, address, series="unheard of")["series"]
    everything = get(viewer, address, series=" , ")["series"]
    beyond = get(viewer, address, series="loss", first="9")["series"]
    crossed = get(viewer, address, series="loss", first="4", last="2")["series"]

    assert named == {name: {"steps": [2, 3], "values": [2.0, 3.0]} for name in ("loss", "loss/kd")}
    assert (empty, set(everything)) == ({}, {"loss", "loss/kd", "other"})
    assert beyond == crossed == {"loss": {"steps": [], "values": []}}


def test_metrics_have_at_most_as_many_points_as_were_asked_for(run: Run, viewer: User) -> None:
    commit(run, {"loss": {step: float(step % 13) for step in range(1, 1201)}})

    counts = [
        len(get(viewer, f"runs/{run.pk}/metrics/", **asked)["series"]["loss"]["steps"])
        for asked in ({}, {"points": "10"}, {"points": "1200"})
    ]

    assert counts[0] in range(900, 1001) and counts[1] in range(5, 11) and counts[2] == 1200


def test_the_log_is_of_one_run_and_of_the_lines_that_were_asked_for(run: Run, viewer: User) -> None:
    other = new_run(run.project)
    for number in range(250):
        LogLine.objects.create(run=run if number % 5 else other, attempt=2, level="warning", text=f"{number}")

    usual = get(viewer, f"runs/{run.pk}/logs/")
    tail = get(viewer, f"runs/{run.pk}/logs/", tail="true", limit="1", after=usual["cursor"])
    none = get(viewer, f"runs/{new_run(run.project).pk}/logs/")

    assert (len(usual["results"]), usual["results"][0]["text"], usual["results"][-1]["text"]) == (200, "1", "249")
    assert {line["attempt"] for line in usual["results"]} == {2} and {line["level"] for line in usual["results"]} == {"warning"}
    assert (tail["results"], tail["cursor"]) == ([], usual["cursor"])
    assert (none["results"], none["cursor"]) == ([], "0")


def test_a_launch_in_the_queue_is_listed_by_its_filters_alone(project: Project, viewer: User) -> None:
    for name in ("one", "two"):
        run = queued_run(project, name=name)
        LatestMetric.objects.create(run=run, name="nll", value=len(name), step=1)

    found = get(viewer, "projects/distillery/runs/", q="two", state="queued", sort="", page="", page_size="")

    assert [one["name"] for one in found["results"]] == ["two"]
    assert (found["count"], found["next"], found["previous"], found["results"][0]["metrics"]) == (1, None, None, {"nll": 3.0})
