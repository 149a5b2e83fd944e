"""Parameters with few right values: any other is refused, never taken for the default."""

import pytest

from tests.runs import new_run
from tests.webapp.conftest import RunMaker, signed_in
from webapp.accounts.models import Project, User

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


@pytest.mark.parametrize(
    ("address", "field", "message"),
    [
        ("projects/distillery/runs/?trash=banana", "trash", "must be true or false; got 'banana'."),
        ("compare/?runs={run},{other}&grouped=foo", "grouped", "must be true or false; got 'foo'."),
        ("runs/{run}/evaluations/?tables=foo", "tables", "must be true or false; got 'foo'."),
        ("runs/{run}/evaluations/?final=2", "final", "must be true or false; got '2'."),
        ("runs/{run}/evaluations/?subject=pupil", "subject", "must be one of student, teacher; got 'pupil'."),
        ("runs/{run}/evaluations/?split=train", "split", "must be one of validation, test; got 'train'."),
        ("runs/{run}/logs/?tail=yes", "tail", "must be true or false; got 'yes'."),
    ],
)
def test_the_api_refuses_a_value_that_it_does_not_know(
    viewer: User, finished_run: RunMaker, address: str, field: str, message: str
) -> None:
    run, other = finished_run(), finished_run(seed=1)

    answer = signed_in(viewer).get("/api/v1/" + address.format(run=run.pk, other=other.pk))

    assert answer.status_code == 400
    assert answer.json() == {"errors": [{"field": field, "message": message}]}


@pytest.mark.parametrize("text", ["false", "0", "FALSE"])
def test_no_is_said_in_two_words(viewer: User, finished_run: RunMaker, text: str) -> None:
    runs = [finished_run(seed=seed) for seed in range(2)]

    answer = signed_in(viewer).get(f"/api/v1/compare/?runs={runs[0].pk},{runs[1].pk}&grouped={text}")

    assert len(answer.json()["columns"]) == 2


@pytest.mark.parametrize(("query", "names"), [("trash=true", ["gone"]), ("trash=1", ["gone"]), ("trash=false", ["kept"]), ("", ["kept"])])
def test_the_trash_is_listed_apart(viewer: User, project: Project, query: str, names: list[str]) -> None:
    new_run(project, name="kept")
    gone = new_run(project, name="gone")
    type(gone).objects.filter(pk=gone.pk).update(deleted_at=gone.created_at or "2026-01-01T00:00:00Z")

    answer = signed_in(viewer).get(f"/api/v1/projects/{project.slug}/runs/?{query}")

    assert [row["name"] for row in answer.json()["results"]] == names


def test_the_curves_of_the_compare_page_refuse_it_too(viewer: User, finished_run: RunMaker) -> None:
    run, other = finished_run(), finished_run(seed=1)

    answer = signed_in(viewer).get(f"/p/distillery/compare/curves/?runs={run.pk},{other.pk}&grouped=foo")

    assert (answer.status_code, answer.json()) == (400, {"detail": "grouped: must be true or false; got 'foo'."})


def test_the_table_of_runs_says_what_it_did_not_understand(viewer: User, project: Project) -> None:
    answer = signed_in(viewer).get("/p/distillery/?trash=banana")

    assert "trash: must be true or false; got &#x27;banana&#x27;." in answer.content.decode()
