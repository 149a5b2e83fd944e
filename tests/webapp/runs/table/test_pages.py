"""The page with the table of runs."""

import pytest
from django.urls import reverse

from tests.webapp.conftest import RunMaker
from tests.webapp.pages import HTMX, as_, text_of
from webapp.accounts.models import User

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def test_the_table_shows_each_run_with_its_state_and_newest_metrics(finished_run: RunMaker, running_run: RunMaker, viewer: User) -> None:
    finished_run(name="the good one"), running_run(name="the young one")

    page = text_of(as_(viewer).get(reverse("runs", args=["distillery"])))

    assert "the good one" in page and "the young one" in page
    assert "0.9000" in page and "succeeded" in page and "running" in page


def test_the_table_sorts_by_a_metric(finished_run: RunMaker, viewer: User) -> None:
    finished_run(name="worse", metrics={"accuracy": 0.5}), finished_run(name="better", metrics={"accuracy": 0.8})

    page = text_of(as_(viewer).get(reverse("runs", args=["distillery"]) + "?sort=-accuracy"))

    assert page.index("better") < page.index("worse")
    assert 'aria-sort="descending"' in page


def test_a_filter_that_finds_nothing_says_so_and_offers_to_clear_it(finished_run: RunMaker, viewer: User) -> None:
    finished_run()

    page = text_of(as_(viewer).get(reverse("runs", args=["distillery"]) + "?q=nowhere"))

    assert "No run matches" in page and "Clear filters" in page


def test_filters_that_were_left_empty_ask_for_nothing(finished_run: RunMaker, viewer: User) -> None:
    finished_run(name="the wanted one"), finished_run(name="another")

    page = text_of(as_(viewer).get(reverse("runs", args=["distillery"]) + "?q=wanted&state=&method=&task=&tag=&sort="))

    assert "the wanted one" in page and "another" not in page and 'class="notice error"' not in page


def test_a_sort_that_makes_no_sense_is_explained_and_the_table_still_shown(finished_run: RunMaker, viewer: User) -> None:
    finished_run(name="still here")

    page = text_of(as_(viewer).get(reverse("runs", args=["distillery"]) + "?sort=nonsense"))

    assert "there is nothing to sort by with the name" in page and "still here" in page


def test_htmx_gets_the_table_alone(finished_run: RunMaker, viewer: User) -> None:
    finished_run()

    fragment = text_of(as_(viewer).get(reverse("runs", args=["distillery"]), **HTMX))

    assert "<html" not in fragment and "runs-table" in fragment


def test_the_browsers_back_button_gets_the_whole_page(finished_run: RunMaker, viewer: User) -> None:
    finished_run()

    page = text_of(as_(viewer).get(reverse("runs", args=["distillery"]), HTTP_HX_HISTORY_RESTORE_REQUEST="true", **HTMX))

    assert "<html" in page


def test_the_choice_of_columns_is_in_the_address_and_remembered(finished_run: RunMaker, viewer: User) -> None:
    finished_run()
    client, address = as_(viewer), reverse("runs", args=["distillery"])

    chosen = text_of(client.get(address + "?columns=brier&columns=by&remember=1"))
    later = text_of(client.get(address))

    assert 'data-columns="brier,by"' in chosen and 'data-columns="brier,by"' in later


def test_a_shared_address_does_not_change_what_its_reader_has_chosen(finished_run: RunMaker, viewer: User) -> None:
    finished_run()
    client, address = as_(viewer), reverse("runs", args=["distillery"])

    shared = text_of(client.get(address + "?columns=brier"))
    later = text_of(client.get(address))

    assert 'data-columns="brier"' in shared and 'data-columns="brier"' not in later
