"""Sixty faults at random moments, over all that can fail: no run is lost, no point twice or missing, no weight another bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAULTS = 60


def test_sixty_faults_leave_no_trace_in_any_run() -> None:
    campaign = subprocess.run(
        [sys.executable, "benchmarks/faults.py", str(FAULTS), "--seed", "7"],
        cwd=ROOT,
        env=os.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )

    said = campaign.stdout[-6000:] + campaign.stderr[-2000:]
    assert campaign.returncode == 0, said
    counts = json.loads(campaign.stdout.splitlines()[-1])
    assert counts["faults"] == FAULTS
    assert counts["runs"] > FAULTS / 10
    assert (counts["lost"], counts["histories that differ"], counts["weights that differ"]) == (0, 0, 0), said
