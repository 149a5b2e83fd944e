"""How a table is set up: from the address or the cookie, and what its heads ask for."""

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from engine.metrics.cards import METRICS
from webapp.runs.table.columns import COOKIE, FIXED, TableState, metric_column, plain_column


def state(query: str = "", *, cookie: str = "", metrics: tuple[str, ...] = ()) -> TableState:
    request = RequestFactory().get(f"/p/distillery/?{query}")
    if cookie:
        request.COOKIES[COOKIE] = cookie
    return TableState.read(request).with_metrics(metrics)  # type: ignore[arg-type]


def test_columns_are_shown_once_and_in_the_order_of_the_address() -> None:
    shown = state("columns=seed,nll&columns=method&columns=nll,seed", metrics=("nll",))

    assert [column.id for column in shown.columns] == ["seed", "nll", "method"]


def test_the_address_counts_more_than_the_cookie_and_an_empty_one_asks_for_nothing() -> None:
    assert state("columns=seed", cookie="task.by").chosen == ("seed",)
    assert state("columns=", cookie="task.by").chosen == state().chosen
    assert state("sort=name", cookie="task.by").chosen == ("task", "by")


def test_a_table_has_at_most_forty_columns() -> None:
    asked = [f"metric_{number}" for number in range(60)]

    assert state(f"columns={','.join(asked)}").chosen == tuple(asked[:40])


@given(st.text())
def test_of_any_cookie_only_names_that_can_be_columns_are_taken(cookie: str) -> None:
    request = RequestFactory().get("/")
    request.COOKIES[COOKIE] = cookie

    chosen = TableState.read(request).chosen  # type: ignore[arg-type]

    assert all(name in FIXED or (name.isascii() and name.isidentifier()) for name in chosen)


def test_a_metric_that_the_project_lacks_is_shown_where_it_has_a_card_and_can_not_be_sorted_by() -> None:
    columns = {column.id: column for column in state("columns=nll,ece,its_own", metrics=("nll",)).columns}

    assert set(columns) == {"nll", "ece"}
    assert (columns["nll"].sort, columns["ece"].sort) == ("nll", "")


def test_what_is_offered_are_the_fixed_columns_and_the_projects_own_metrics_in_the_order_of_their_cards() -> None:
    cards = list(METRICS)

    offered = [column.id for column in state(metrics=("zeal", cards[3], "another", cards[1])).offered]

    assert offered == [*FIXED, cards[1], cards[3], "another", "zeal"]


@pytest.mark.parametrize(
    ("sort", "asks", "now"),
    [("-created", "nll", ""), ("nll", "-nll", "ascending"), ("-nll", "nll", "descending"), ("nll_other", "nll", "")],
)
def test_a_click_sorts_by_the_best_first_and_the_next_one_turns_it_round(sort: str, asks: str, now: str) -> None:
    column = metric_column("nll", sort=sort)

    assert (column.sort, column.sorted, column.better) == (asks, now, "lower")


def test_where_more_is_better_or_nothing_is_the_largest_come_first() -> None:
    asks = [metric_column(name, sort="").sort for name in ("accuracy", "temperature", "its_own_number")]

    assert asks == ["-accuracy", "-temperature", "-its_own_number"]


def test_a_metric_without_a_card_has_its_name_in_words_and_no_direction() -> None:
    column = metric_column("its_own_number", sort="its_own_number", sortable=False)

    assert (column.title, column.head, column.description, column.better, column.metric) == (
        "its own number",
        "its own number",
        "",
        "",
        True,
    )
    assert (column.sort, column.sorted) == ("", "ascending")


def test_columns_that_say_nothing_in_order_can_not_be_sorted_by() -> None:
    fixed = {column.id: column.sort for column in state("sort=-seed").offered}

    assert fixed == {
        "method": "method",
        "task": "task",
        "student": "",
        "seed": "seed",
        "created": "-created",
        "seconds": "seconds",
        "by": "",
        "tags": "",
        "priority": "-priority",
    }
    assert (state("sort=-name").name_column.sort, state("sort=state").state_column.sort) == ("name", "-state")
    assert plain_column("by", "By", "", sort="by").sorted == "ascending"


def test_newest_first_is_how_a_table_is_sorted_unless_the_address_says_otherwise() -> None:
    assert [state(query).sort for query in ("", "sort=", "sort=name")] == ["-created", "-created", "name"]


@pytest.mark.parametrize(("query", "kept"), [("columns=seed", False), ("remember=1", False), ("columns=seed,task&remember=1", True)])
def test_a_choice_is_kept_where_one_was_made_to_be_kept(query: str, kept: bool) -> None:
    response = HttpResponse()

    state(query).remember(response)

    assert (COOKIE in response.cookies) == kept
    if kept:
        cookie = response.cookies[COOKIE]
        assert (cookie.value, cookie["max-age"], cookie["samesite"], cookie["httponly"]) == ("seed.task", 365 * 24 * 3600, "Lax", True)


def test_what_was_kept_is_read_back() -> None:
    response = HttpResponse()
    chosen = state("columns=tags,nll,by&remember=1", metrics=("nll",))
    chosen.remember(response)

    again = state(cookie=response.cookies[COOKIE].value, metrics=("nll",))

    assert (again.chosen, again.columns) == (chosen.chosen, chosen.columns)
