"""Sixty faults in random order, each kind among them: what `benchmarks/faults.py` does with a thousand."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAULTS = 60

pytestmark = [pytest.mark.servers, pytest.mark.timeout(1500)]


def test_no_run_is_lost_no_point_doubled_and_no_weight_differs_whatever_is_killed() -> None:
    """On servers of its own, which it ends where it is interrupted."""
    command = [sys.executable, "benchmarks/faults.py", str(FAULTS)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as campaign:
        try:
            said, _ = campaign.communicate()
        finally:
            if campaign.poll() is None:
                campaign.send_signal(signal.SIGINT)
                campaign.wait(60)

    assert campaign.returncode == 0, said[-8000:]
    counts = json.loads(said.splitlines()[-1])
    assert counts["faults"] == FAULTS
    assert counts["runs"] >= 5
    assert (counts["lost"], counts["histories that differ"], counts["weights that differ"]) == (0, 0, 0)
