"""The views of a task and a method, on their run's page."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from engine import charts
from tests.webapp.conftest import RunMaker
from webapp.accounts.models import User
from webapp.figures.shown_charts import charts_of
from webapp.runs.models import Artifact, Evaluation, Run
from webapp.runs.page.closer_look import _Kept, tables_of
from webapp.runs.progress import status_of

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

PNG = "data:image/png;base64,iVBORw0KGgo="
SUSPECTS = charts.rows("Likely label errors", ["row", "example", "probability"], [[7, PNG, 0.00125]], note="train, n = 1,078")


def validated(run: Run, **tables: Any) -> Run:
    about = {"run": run, "attempt": 1, "subject": "student", "split": "validation", "metrics": {"accuracy": 0.9}}
    stale = charts.histogram("Stale", [0, 1], {"rows": [1]}, x="x")
    Evaluation.objects.create(**about, step=10, final=False, tables={"stale": stale})
    Evaluation.objects.create(**about, step=20, final=True, tables={"reliability": {"n": 5, "bins": []}, **tables})
    return run


def page_of(run: Run, person: User) -> str:
    client = Client()
    client.force_login(person)
    return client.get(reverse("run-detail", args=[run.pk])).content.decode()


def test_the_newest_validations_views_are_shown_and_no_older_ones(finished_run: RunMaker) -> None:
    run = validated(finished_run(), own=charts.histogram("Own label", [0, 0.5, 1], {"rows": [2, 7]}, x="probability", note="train, n = 9"))

    (chart,) = charts_of(tables_of(run), number=1)

    assert (chart.title, chart.note) == ("Own label", "train, n = 9")
    assert chart.figure is not None
    assert chart.figure["data"][0]["y"] == [2, 7]


def test_the_page_shows_a_table_with_its_pictures(finished_run: RunMaker, viewer: User) -> None:
    page = page_of(validated(finished_run(), suspects=SUSPECTS), viewer)

    assert "A closer look" in page
    assert f'src="{PNG}"' in page
    assert "0.00125" in page


def test_pictures_are_only_what_carries_its_own_data(finished_run: RunMaker, viewer: User) -> None:
    grid = charts.images("Samples", {"zero": [PNG, "https://elsewhere.example/x.png", PNG]}, columns=["now", "teacher"])

    page = page_of(validated(finished_run(), grid=grid), viewer)

    assert page.count(f'src="{PNG}"') == 2
    assert "elsewhere.example" not in page


def test_texts_are_shown_as_text_with_the_shades_of_their_pieces(finished_run: RunMaker, viewer: User) -> None:
    items = [{"label": "student", "prompt": "<b>once", "text": "ab", "pieces": ["a", "<i>"], "weights": [0.0, 1.0]}, {"text": "plain"}]

    page = page_of(validated(finished_run(), said=charts.texts("Completions", items, scale="KL")), viewer)

    assert "&lt;b&gt;once" in page and "<b>once" not in page
    assert '<span class="shade-0">a</span><span class="shade-9">&lt;i&gt;</span>' in page
    assert "<span>plain</span>" in page
    assert "Shaded by KL" in page


def test_an_artifact_is_the_last_word_on_a_table_of_its_name(finished_run: RunMaker, store: Path) -> None:
    run = validated(finished_run(), suspects=SUSPECTS)
    (store / "new.json").write_text(json.dumps({**SUSPECTS, "title": "From the artifact"}))
    for attempt, path in ((1, "gone.json"), (2, "new.json")):
        Artifact.objects.create(run=run, attempt=attempt, name="suspects", kind="table", path=path, bytes=99, sha256="0" * 64)

    (chart,) = charts_of(tables_of(run), number=1)

    assert chart.title == "From the artifact"


@pytest.mark.parametrize("content", ["no JSON", "[1]", '{"rows": []}'])
def test_an_artifact_that_is_no_view_changes_nothing(content: str, finished_run: RunMaker, store: Path) -> None:
    run = validated(finished_run(), suspects=SUSPECTS)
    (store / "other.json").write_text(content)
    Artifact.objects.create(run=run, attempt=1, name="suspects", kind="table", path="other.json", bytes=99, sha256="0" * 64)

    assert [chart.title for chart in charts_of(tables_of(run), number=1)] == ["Likely label errors"]


def test_a_run_without_views_has_no_such_section(finished_run: RunMaker, viewer: User) -> None:
    assert "A closer look" not in page_of(validated(finished_run()), viewer)


def test_the_charts_that_the_kind_of_student_names_come_first_and_the_others_by_name() -> None:
    tables = {name: charts.rows(name, ("a",), [[1]]) for name in ("a", "b", "c", "d")}

    assert [chart.id for chart in charts_of(tables, number=1, first=("d", "gone", "b"))] == ["d", "b", "a", "c"]


def test_what_does_not_say_how_it_is_drawn_is_left_out() -> None:
    tables = {"odd": {"n": 3}, "text": "no table", "broken": {"view": "lines", "series": 3}, "unknown": {"view": "hologram"}}

    assert charts_of(tables, number=1) == []


@pytest.mark.parametrize(
    ("index", "count", "words"),
    [(None, None, "Distill"), (0, 1, "Distill"), (0, None, "Distill"), (1, 3, "Phase 2 of 3 (distill)"), (1, None, "Phase 2 (distill)")],
)
def test_a_phase_is_counted_where_there_are_several(index: int | None, count: int | None, words: str) -> None:
    run = Run(state="running", phase="distill", phase_index=index, phase_count=count)

    assert status_of(run).activity == words


def kept(run: Run, store: Path, name: str, content: str) -> Artifact:
    (store / f"{name}.json").write_text(content)
    about = {"kind": "table", "path": f"{name}.json", "bytes": len(content), "sha256": "0" * 64}
    return Artifact.objects.create(run=run, attempt=1, name=name, **about)


def test_an_artifact_is_read_once_since_it_never_changes(finished_run: RunMaker, store: Path) -> None:
    run = finished_run()
    kept(run, store, "suspects", json.dumps(SUSPECTS))
    kept(run, store, "records", "[1]")
    first = tables_of(run)

    for name in ("suspects", "records"):
        (store / f"{name}.json").unlink()

    assert tables_of(run) == first == {"suspects": SUSPECTS}


def test_an_artifact_that_could_not_be_read_is_asked_for_again(finished_run: RunMaker, store: Path) -> None:
    run = finished_run()
    kept(run, store, "suspects", json.dumps(SUSPECTS))
    (store / "suspects.json").rename(store / "away")
    assert tables_of(run) == {}

    (store / "away").rename(store / "suspects.json")

    assert tables_of(run) == {"suspects": SUSPECTS}


def test_only_so_many_bytes_of_artifacts_are_kept_the_newest_asked(finished_run: RunMaker, store: Path) -> None:
    text = json.dumps(SUSPECTS)
    run, keeper = finished_run(), _Kept(most_bytes=2 * len(text))
    one, two, three = (kept(run, store, name, text) for name in ("one", "two", "three"))
    for artifact in (one, two, one, three):  # the second is the one that was not asked for the longest
        assert keeper.of(artifact) == SUSPECTS

    for artifact in (one, two, three):
        (store / artifact.path).unlink()

    assert [keeper.of(artifact) is not None for artifact in (one, two, three)] == [True, False, True]
