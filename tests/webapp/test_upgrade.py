"""A database of the first release with a million points is brought up to date, and runs, curves and pages read right."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.installations import ROOT, empty_installation
from tests.webapp.previous_release import POINTS, RUNS, SPIKE, SPIKE_STEP

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def found(embedded_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What today's code finds after the migration."""
    from django.conf import settings

    environment = {**os.environ, "DATABASE_URL": settings.DATABASE_URL}
    with empty_installation(environment, Path(tmp_path_factory.mktemp("store")), "upgraded") as there:
        made = subprocess.run(
            [sys.executable, "-m", "tests.webapp.previous_release"],
            cwd=ROOT,
            env=there.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr[-3000:]
        yield json.loads(made.stdout)


def test_no_point_of_a_run_is_lost_and_those_of_no_run_are_gone(found: dict[str, Any]) -> None:
    assert found["points"] == RUNS * POINTS == 1_000_000
    assert found["lost"] == 0


def test_runs_are_as_they_were_and_new_fields_have_their_defaults(found: dict[str, Any]) -> None:
    assert found["runs"] == [[f"run {number}", "succeeded", False, None] for number in range(1, RUNS + 1)]


def test_a_long_curve_is_thinned_out_and_keeps_its_ends_and_its_spike(found: dict[str, Any]) -> None:
    assert found["curve"]["ends"] == [1, POINTS]
    assert found["curve"]["highest"] == SPIKE
    assert found["curve"]["points"] <= 400


def test_single_points_are_exact(found: dict[str, Any]) -> None:
    assert found["exact"] == {"steps": [SPIKE_STEP - 1, SPIKE_STEP, SPIKE_STEP + 1], "values": [320.0, SPIKE, 322.0]}


def test_every_page_opens(found: dict[str, Any]) -> None:
    assert set(found["statuses"].values()) == {200} and len(found["statuses"]) == 5
