"""What a run has left, over REST."""

from typing import Any

import pytest

from tests.runs import new_run
from tests.webapp.conftest import RunMaker, signed_in
from tests.webapp.runs.history.test_curves import commit
from webapp.accounts.models import Project, User
from webapp.runs.history import points
from webapp.runs.models import Evaluation, LogLine, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def get(user: User, address: str, **parameters: Any) -> Any:
    answer = signed_in(user).get(f"/api/v1/{address}", parameters)
    return answer.json() | {"status": answer.status_code}


@pytest.fixture
def run(project: Project) -> Run:
    return new_run(project)


def test_metrics_tell_curves_and_a_cursor(viewer: User, run: Run) -> None:
    commit(run, {"loss": {1: 0.9, 2: 0.8}})

    found = get(viewer, f"runs/{run.pk}/metrics/")

    assert found == {"cursor": "1", "cut_after": None, "series": {"loss": {"steps": [1, 2], "values": [0.9, 0.8]}}, "status": 200}


def test_metrics_after_a_cursor_tell_what_is_new_and_what_was_cut(viewer: User, run: Run) -> None:
    commit(run, {"loss": {1: 0.9, 2: 0.8}})
    cursor = get(viewer, f"runs/{run.pk}/metrics/")["cursor"]
    points.cut(run.pk, after=1, attempt=2)
    commit(run, {"loss": {2: 0.7}})

    found = get(viewer, f"runs/{run.pk}/metrics/", after=cursor)

    assert (found["cut_after"], found["series"]) == (1, {"loss": {"steps": [2], "values": [0.7]}})


def test_a_value_that_is_not_finite_is_null(viewer: User, run: Run) -> None:
    commit(run, {"loss": {1: float("nan"), 2: float("inf"), 3: 0.5}})

    found = get(viewer, f"runs/{run.pk}/metrics/")

    assert found["series"]["loss"]["values"] == [None, None, 0.5]


@pytest.mark.parametrize(
    ("parameters", "field", "message"),
    [
        ({"after": "soon"}, "after", "must be the cursor of an earlier answer; got 'soon'."),
        ({"points": "9"}, "points", "must be a whole number from 10 to 100000; got '9'."),
        ({"points": "many"}, "points", "must be a whole number from 10 to 100000; got 'many'."),
        ({"first": "-1"}, "first", "must be a whole number from 0 to 9223372036854775807; got '-1'."),
    ],
)
def test_metrics_that_make_no_sense_are_refused(viewer: User, run: Run, parameters: dict[str, str], field: str, message: str) -> None:
    found = get(viewer, f"runs/{run.pk}/metrics/", **parameters)

    assert (found["status"], found["errors"]) == (400, [{"field": field, "message": message}])


def test_evaluations_come_without_tables_unless_asked_for(viewer: User, finished_run: RunMaker) -> None:
    run = finished_run(tables={"confusion": [[1]]}, teacher_metrics={"accuracy": 1.0})
    Evaluation.objects.create(run=run, attempt=1, step=10, subject="student", split="validation", metrics={"accuracy": None}, final=False)

    everything = get(viewer, f"runs/{run.pk}/evaluations/")["results"]
    final = get(viewer, f"runs/{run.pk}/evaluations/", subject="student", final="true", tables="true")["results"]

    assert [(one["step"], one["subject"], one["metrics"]["accuracy"]) for one in everything] == [
        (10, "student", None),
        (20, "student", 0.9),
        (20, "teacher", 1.0),
    ]
    assert all("tables" not in one for one in everything)
    assert [one["tables"] for one in final] == [{"confusion": [[1]]}]


def test_the_log_is_read_on_by_its_cursor(viewer: User, run: Run) -> None:
    for number in range(5):
        LogLine.objects.create(run=run, attempt=1, level="info", text=f"line {number}")

    first = get(viewer, f"runs/{run.pk}/logs/", limit=3)
    rest = get(viewer, f"runs/{run.pk}/logs/", after=first["cursor"])
    tail = get(viewer, f"runs/{run.pk}/logs/", tail="true", limit=2)
    nothing = get(viewer, f"runs/{run.pk}/logs/", after=rest["cursor"])

    assert [[line["text"] for line in part["results"]] for part in (first, rest, tail, nothing)] == [
        ["line 0", "line 1", "line 2"],
        ["line 3", "line 4"],
        ["line 3", "line 4"],
        [],
    ]
    assert nothing["cursor"] == rest["cursor"]


def test_attempts_and_history_tell_who_did_what(viewer: User, finished_run: RunMaker) -> None:
    run = finished_run()

    (attempt,) = get(viewer, f"runs/{run.pk}/attempts/")["results"]
    history = get(viewer, f"runs/{run.pk}/history/")["results"]

    assert (attempt["number"], attempt["worker"], attempt["pid"], attempt["exit"]) == (1, "worker-1", 4321, "succeeded")
    assert [(line["who"], line["after"]) for line in history] == [
        ("otto", "queued"),
        ("worker-1", "starting"),
        ("worker-1", "running"),
        ("worker-1", "succeeded"),
    ]


@pytest.mark.parametrize("what", ["evaluations", "artifacts", "attempts", "history"])
def test_lists_have_pages(viewer: User, run: Run, what: str) -> None:
    found = get(viewer, f"runs/{run.pk}/{what}/", page_size=1)

    assert {"count", "next", "previous", "results"} <= found.keys()
