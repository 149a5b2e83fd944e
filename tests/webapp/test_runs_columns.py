"""The columns of the table of runs, as the address and the cookie name them."""

import pytest

from tests.webapp.conftest import RunMaker, signed_in
from webapp.accounts.models import User
from webapp.runs.runs_table import COOKIE

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
