"""What a method says of itself, on its run's page."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.webapp.conftest import RunMaker
from webapp.accounts.models import User
from webapp.runs.diagnostics import tables_of, views_of
from webapp.runs.models import Artifact, Evaluation, Run
from webapp.runs.status import status_of

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

SUSPECTS = {"n": 1078, "split": "train", "rows": [{"index": 7, "label": 3, "probability": 0.00125, "prediction": 8}]}


def validated(run: Run, **tables: Any) -> Run:
    about = {"run": run, "attempt": 1, "subject": "student", "split": "validation", "metrics": {"accuracy": 0.9}}
    Evaluation.objects.create(**about, step=10, final=False, tables={"stale": {"edges": [0, 1], "counts": [1]}})
    Evaluation.objects.create(**about, step=20, final=True, tables={"reliability": {"n": 5, "bins": []}, **tables})
    return run


def test_counts_between_edges_are_drawn_as_a_histogram(finished_run: RunMaker) -> None:
    run = validated(finished_run(), own_label_probability={"n": 9, "split": "train", "edges": [0, 0.5, 1], "counts": [2, 7]})

    (view,) = views_of(tables_of(run), number=1)

    assert (view.title, view.note) == ("Own label probability", "train, n = 9")
    assert view.figure is not None
    assert view.figure["data"][0]["y"] == [2, 7]


def test_logits_of_student_and_teacher_are_pairs_of_bars_raw_above_standardized(finished_run: RunMaker) -> None:
    logits = {"student": [4.0, -4.0], "teacher": [9.0, -9.0], "student_standardized": [1.0, -1.0], "teacher_standardized": [1.0, -1.0]}
    run = validated(finished_run(), sample_logits={"n": 1, "split": "validation", "index": 0, **logits})

    (view,) = views_of(tables_of(run), number=1)

    assert view.figure is not None
    assert [(bar["name"], bar["yaxis"], bar["y"]) for bar in view.figure["data"]] == [
        ("student", "y", [4.0, -4.0]),
        ("teacher", "y", [9.0, -9.0]),
        ("student", "y2", [1.0, -1.0]),
        ("teacher", "y2", [1.0, -1.0]),
    ]
    assert view.figure["layout"]["yaxis2"]["title"]["text"] == "standardized"


def test_the_page_lists_examples_with_the_pictures_of_the_runs_artifact(finished_run: RunMaker, viewer: User, store: Path) -> None:
    run = validated(finished_run(), likely_label_errors=SUSPECTS)
    with_pictures = {**SUSPECTS, "rows": [{**SUSPECTS["rows"][0], "picture": [[0, 255], [255, 0]]}]}
    (store / "errors.json").write_text(json.dumps(with_pictures))
    Artifact.objects.create(run=run, attempt=1, name="likely_label_errors", kind="table", path="errors.json", bytes=99, sha256="0" * 64)
    client = Client()
    client.force_login(viewer)

    page = client.get(reverse("run-detail", args=[run.pk])).content.decode()

    assert "The method&#x27;s own view" in page or "The method's own view" in page
    assert 'data-picture="[[0, 255], [255, 0]]"' in page
    assert "0.00125" in page


def test_without_the_artifact_examples_are_listed_without_pictures(finished_run: RunMaker, store: Path) -> None:
    run = validated(finished_run(), likely_label_errors=SUSPECTS)
    Artifact.objects.create(run=run, attempt=1, name="likely_label_errors", kind="table", path="gone.json", bytes=99, sha256="0" * 64)

    (view,) = views_of(tables_of(run), number=1)

    assert view.columns == ("index", "label", "prediction", "probability")
    assert [(row.cells, row.picture) for row in view.rows] == [(("7", "3", "8", "0.00125"), None)]


def test_a_method_that_says_nothing_of_itself_has_no_such_section(finished_run: RunMaker, viewer: User) -> None:
    run = validated(finished_run())
    client = Client()
    client.force_login(viewer)

    page = client.get(reverse("run-detail", args=[run.pk])).content.decode()

    assert "own view" not in page


def test_a_table_of_a_form_that_is_not_known_is_left_out() -> None:
    tables = {"odd": {"n": 3, "edges": [0, 1], "counts": [1, 2]}, "empty": {"rows": []}, "text": "no table"}

    assert views_of(tables, number=1) == []


@pytest.mark.parametrize(
    ("index", "count", "words"),
    [(None, None, "Distill"), (0, 1, "Distill"), (0, None, "Distill"), (1, 3, "Phase 2 of 3 (distill)"), (1, None, "Phase 2 (distill)")],
)
def test_a_phase_is_counted_where_there_are_several(index: int | None, count: int | None, words: str) -> None:
    run = Run(state="running", phase="distill", phase_index=index, phase_count=count)

    assert status_of(run).activity == words
