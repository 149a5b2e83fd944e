"""The desk: what runs while somebody listens, and what it does when it can't find out who may."""

import asyncio
from typing import Any

import pytest

from tests.webapp.conftest import RunMaker
from tests.webapp.runs.live.conftest import session_of
from webapp.accounts.models import User
from webapp.runs.live.desk import Desk, desk
from webapp.runs.live.news import Mark
from webapp.runs.live.passes import Pass, still_valid
from webapp.runs.live.reader import RETRY

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]


def passed(user: User, project: int, **changes: Any) -> Pass:
    return Pass(**{"session": session_of(user), "person": user.pk, "password": user.password, "project": project} | changes)


def test_an_event_loop_has_one_desk() -> None:
    async def both() -> tuple[Desk, Desk]:
        return desk(), desk()

    first, second = asyncio.run(both())

    assert first is second


def test_nothing_runs_while_nobody_listens(running_run: RunMaker, viewer: User) -> None:
    run = running_run()
    admitted = passed(viewer, run.project_id)

    async def come_and_go() -> tuple[int, int]:
        here = Desk()
        page, table = here.follow_run(admitted, run.pk, Mark()), here.follow_table(admitted, [run.pk])
        during = len(asyncio.all_tasks())
        page.close()
        table.close()
        await asyncio.sleep(0)
        return during, len(asyncio.all_tasks())

    during, after = asyncio.run(come_and_go())

    assert (during, after) == (1 + 4, 1)  # the bell, the check, the rounds of a run and of a project


def test_when_it_can_not_be_found_out_who_may_listen_nobody_does(running_run: RunMaker, viewer: User, settings: Any) -> None:
    admitted = passed(viewer, running_run().project_id)
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"  # has no table to ask

    async def listen() -> list[str]:
        reader = Desk().follow_table(admitted, [])
        try:
            async with asyncio.timeout(60):
                return [text async for text in reader]
        finally:
            reader.close()

    assert asyncio.run(listen()) == [RETRY]


def test_everyones_right_to_listen_is_asked_in_three_statements(
    running_run: RunMaker, viewer: User, operator: User, stranger: User, django_assert_num_queries: Any
) -> None:
    run = running_run()
    good = {passed(user, run.project_id, run=run.pk) for user in (viewer, operator) for _ in range(10)}
    bad = {passed(stranger, run.project_id), passed(viewer, run.project_id, session="none"), passed(viewer, run.project_id + 1)}

    with django_assert_num_queries(3):
        valid = still_valid(good | bad)

    assert valid == good and len(good) == 20
