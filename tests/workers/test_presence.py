"""A worker in the fleet: what it says of itself, and whether it takes runs, by real threads and the real database."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.waiting import wait_for
from webapp.fleet.models import StoreMarker, Worker
from webapp.fleet.store import MARKER
from workers.devices import Gpu, Pool
from workers.presence import Presence, _about

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def store(tmp_path: Path, settings: Any) -> Path:
    settings.STORE, settings.HEARTBEAT_SECONDS = tmp_path / "store", 0.05
    return settings.STORE


@pytest.fixture
def presence(store: Path) -> Iterator[Presence]:
    """Started, with two slots, and ended with the test."""
    one = Presence("box:1", Pool(cpu_slots=2, gpus=(), cores=4), well_seconds=0.2, unwell_seconds=0.05)
    one.start()
    yield one
    one.leave()
    wait_for(lambda: not [each for each in threading.enumerate() if each.name.startswith("presence-")], what="its threads to end")


def row() -> Worker:
    return wait_for(lambda: Worker.objects.filter(store_problem="").first(), what="the worker's row")


def test_a_worker_says_what_it_offers(presence: Presence, monkeypatch: pytest.MonkeyPatch) -> None:
    found = row()

    assert (found.pk, found.name, found.cpu_slots, found.gpu_count, found.gpus) == (presence.id, "box:1", 2, 0, [])
    assert found.memory_bytes == psutil.virtual_memory().total
    assert 0 < found.free_memory_bytes <= found.memory_bytes
    assert (found.model_roots, found.hub_models, found.left_at) == ([], [], None)


def test_the_models_that_its_operator_allows_and_its_gpus_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_MODEL_ROOTS", "/models:/more")
    monkeypatch.setenv("STILLHOUSE_HUB_MODELS", "Qwen/*, org/name")

    said = _about("box:1", Pool(cpu_slots=0, gpus=(Gpu("GPU-a", "H100", 0.5, 2**30),), cores=4))

    assert (said["model_roots"], said["hub_models"]) == (["/models", "/more"], ["Qwen/*", "org/name"])
    assert (said["cpu_slots"], said["gpu_count"]) == (0, 1)


def test_its_heart_beats_until_it_leaves(presence: Presence) -> None:
    first = row().heard_at

    wait_for(lambda: Worker.objects.get().heard_at > first, what="a heartbeat")
    alive = Worker.objects.live().count()
    presence.leave()

    assert (alive, Worker.objects.live().count()) == (1, 0)
    assert Worker.objects.get().left_at is not None


def test_a_row_that_somebody_deleted_comes_back(presence: Presence) -> None:
    row()

    Worker.objects.all().delete()

    assert row().pk == presence.id
    wait_for(presence.may_claim, what="it to take runs")


def test_a_worker_takes_no_runs_from_the_moment_at_which_its_store_is_gone_and_again_when_it_is_back(
    presence: Presence, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wait_for(presence.may_claim, what="it to take runs")
    text = (store / MARKER).read_text()

    (store / MARKER).unlink()
    at_once = presence.may_claim()
    wait_for(lambda: Worker.objects.get().store_problem, what="its row to say so")
    said = Worker.objects.get().store_problem
    (store / MARKER).write_text(text)
    wait_for(presence.may_claim, what="it to take runs again")

    assert not at_once
    assert said == f"its store lacks the file {MARKER}, so it may not be mounted"
    told = [record.getMessage() for record in caplog.records if record.name == "workers.presence" and record.levelname == "WARNING"]
    assert told == [f"This worker takes no runs: {said} ({store}). It tries again every few seconds."]
    row()


def test_a_worker_that_has_not_begun_takes_no_runs(store: Path) -> None:
    one = Presence("box:1", Pool(cpu_slots=2, gpus=(), cores=4))

    assert (one.may_claim(), one.problem) == (False, "it has not yet looked for its store")
    assert not StoreMarker.objects.exists()
