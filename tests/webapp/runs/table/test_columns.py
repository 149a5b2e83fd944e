"""The columns of the table of runs, as the address and the cookie name them."""

import pytest

from engine.metrics.cards import HEADLINE, METRICS
from tests.webapp.conftest import RunMaker, signed_in
from webapp.accounts.models import User
from webapp.runs.table.columns import COOKIE

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def test_only_columns_that_there_are_get_remembered(viewer: User, finished_run: RunMaker) -> None:
    finished_run(metrics={"accuracy": 0.9, "its_own": 1.0})

    answer = signed_in(viewer).get("/p/distillery/", {"columns": "日,seed,ece,its_own,nothing", "remember": "1"})

    assert answer.status_code == 200
    assert answer.cookies[COOKIE].value == "seed.ece.its_own"


def test_a_column_with_a_name_that_no_cookie_can_hold_is_left_out(viewer: User, finished_run: RunMaker) -> None:
    finished_run(metrics={"日": 1.0})

    answer = signed_in(viewer).get("/p/distillery/", {"columns": "日,seed", "remember": "1"})

    assert answer.cookies[COOKIE].value == "seed"


def test_without_a_choice_the_metrics_are_those_that_the_projects_students_are_told_by(viewer: User, finished_run: RunMaker) -> None:
    shown = signed_in(viewer).get("/p/distillery/").context["table"].chosen
    assert shown[3:-3] == HEADLINE["classifier"][:4]

    finished_run(metrics={HEADLINE["dataset"][0]: 0.5, "parameters": 3.0})
    shown = signed_in(viewer).get("/p/distillery/").context["table"].chosen
    assert shown[3:-3] == HEADLINE["dataset"][:4]

    finished_run(metrics=dict.fromkeys(HEADLINE["classifier"], 0.5))
    shown = signed_in(viewer).get("/p/distillery/").context["table"].chosen
    assert shown[3:-3] == (*HEADLINE["classifier"][:2], HEADLINE["dataset"][0])


def test_of_four_kinds_or_more_the_table_shows_one_metric_each(viewer: User, finished_run: RunMaker) -> None:
    kinds = ("classifier", "causal-lm", "dataset", "knowledge")
    finished_run(metrics={name: 0.5 for kind in kinds for name in HEADLINE[kind]})

    shown = signed_in(viewer).get("/p/distillery/").context["table"].chosen

    assert shown[3:-3] == tuple(HEADLINE[kind][0] for kind in kinds)


def test_a_long_title_is_shortened_in_the_head_and_whole_in_its_tooltip(viewer: User, finished_run: RunMaker) -> None:
    finished_run(metrics={"rollout_kl_student_teacher": 0.5})

    page = signed_in(viewer).get("/p/distillery/").content.decode()

    card = METRICS["rollout_kl_student_teacher"]
    assert f'title="{card.title}: {card.description}"' in page.replace("&#x27;", "'")
    assert f">{card.head}<" in page and len(card.head) < 20
    assert f"> {card.title}</label>" in page  # where columns are chosen there is room


def test_no_two_metrics_have_one_head() -> None:
    heads = [card.head for card in METRICS.values()]

    assert len(set(heads)) == len(heads)
    assert all(len(METRICS[name].head) <= 22 for headline in HEADLINE.values() for name in headline)
