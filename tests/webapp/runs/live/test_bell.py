"""What a web process hears of Redis: rings of runs, and nothing that makes it stop listening."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest
import redis
from asgiref.sync import sync_to_async
from django.conf import settings

from webapp.runs import doorbell
from webapp.runs.live.bell import Bell, Ring

pytestmark = pytest.mark.servers


def heard_of(*published: tuple[str, str]) -> list[Ring]:
    """What a bell hears of (channel, text), up to a ring that is published last."""
    last, rings, back = uuid4(), [], asyncio.Event()

    def publish() -> None:
        with redis.Redis.from_url(settings.REDIS_URL) as client:
            for name, text in (*published, (doorbell.channel(last), json.dumps({"kinds": []}))):
                client.publish(name, text)

    async def listen() -> None:
        bell = Bell(rings.append, back.set)
        listening = asyncio.create_task(bell.keep_listening())
        async with asyncio.timeout(60):
            await back.wait()
            assert bell.listening
            await sync_to_async(publish, thread_sensitive=False)()
            while not any(ring.run_id == last for ring in rings):
                await asyncio.sleep(0.01)
        listening.cancel()

    asyncio.run(listen())
    return [ring for ring in rings if ring.run_id != last]


def test_a_ring_says_whose_it_is_what_is_new_and_where() -> None:
    run_id = uuid4()

    heard = heard_of((doorbell.channel(run_id), json.dumps({"kinds": ["state", "launched"], "batch": None, "project": 7})))

    assert heard == [Ring(run_id, frozenset({"state", "launched"}), 7)]


@pytest.mark.parametrize("text", ["", "not JSON", "null", "[]", '{"batch": 3}', '{"kinds": 5}'])
def test_what_can_not_be_read_is_passed_over(text: str, caplog: Any) -> None:
    run_id = uuid4()

    heard = heard_of((doorbell.channel(run_id), text))

    assert heard == []
    assert f"What was published for run {run_id} can't be read." in caplog.text


def test_what_others_publish_under_such_a_name_is_no_ring() -> None:
    assert heard_of(("stillhouse:run:none", json.dumps({"kinds": ["state"]}))) == []


def test_a_bell_that_is_no_longer_wanted_ends_at_whatever_moment_that_is() -> None:
    async def given_up_after(turns: int) -> bool:
        listening = asyncio.create_task(Bell(lambda ring: None, lambda: None).keep_listening())
        for _ in range(turns):
            await asyncio.sleep(0)
        listening.cancel()
        ended, _ = await asyncio.wait([listening], timeout=10)
        return bool(ended)

    async def all_of_them() -> list[int]:
        return [turns for turns in range(60) if not await given_up_after(turns)]

    assert asyncio.run(all_of_them()) == []
