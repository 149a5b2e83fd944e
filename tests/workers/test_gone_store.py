"""A store that is unmounted between the claim and the first file."""

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.runs import claim, queued_run
from webapp.fleet import store
from webapp.runs.models import Attempt, Run, State
from workers import supervisor
from workers.devices import Share

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("forkserver_ends")]


@pytest.mark.parametrize("there", [True, False])
def test_a_run_is_not_begun_where_its_files_would_be_hidden(there: bool, settings: Any, tmp_path: Path) -> None:
    store.adopt(tmp_path / "disk")
    (tmp_path / "empty").mkdir()
    settings.STORE = tmp_path / ("disk" if there else "empty")
    run = queued_run(budget={"steps": 1}, threads=1)
    claimed = claim()
    assert claimed is not None

    supervisor.tend(claimed, Share("cpu", (), threads=1, memory=4 * 10**9), leaving=threading.Event())

    attempt = Attempt.objects.get(run=run)
    if there:
        assert (Run.objects.get(pk=run.pk).state, attempt.exit) == (State.SUCCEEDED, "succeeded")
    else:
        assert (Run.objects.get(pk=run.pk).state, attempt.exit) == (State.QUEUED, "crashed")
        assert attempt.reason.startswith("Its worker could not carry it on: [Errno 2] the store is not mounted")
        assert list(settings.STORE.iterdir()) == []
