"""A run whose disk fills up, on a disk of its own of two megabytes: `python -m tests.engine.run.small_disk FOLDER PLAN` prints what became of it.

The disk is a tmpfs in a mount namespace of this process, so no right is needed that a person lacks, and nothing else sees it.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.events import Checkpoint, Log
from engine.method import Batch, Logs
from engine.run import checkpoint
from engine.spec.run_spec import Budget, Cadence
from tests.engine.tiny import Plain, Watcher, run_tiny, student_bytes, tiny_card, tiny_spec

ROOT = Path(__file__).parents[3]
DISK = "2m"
NUMBERS = 100_000
"""In the state of the method: 400 kB a checkpoint."""


class Heavy(Plain):
    """Fills the disk before some of its steps and makes room before others, as `plan` says by step: `{"3": "fill", "5": "free"}`. "end" is
    after the last step, "table" names a step that leaves one."""

    card = tiny_card("heavy")
    disk = Path()
    plan: dict[str, str] = {}

    def build(self) -> None:
        super().build()
        self.load = nn.Module()
        self.load.register_buffer("numbers", torch.zeros(NUMBERS))

    def step(self, batch: Batch) -> Logs:
        self.act(str(self.position.step + 1))
        return super().step(batch)

    def finish(self) -> None:
        self.act("end")

    def act(self, moment: str) -> None:
        match self.plan.get(moment):
            case "fill":
                fill(self.disk)
            case "free":
                free(self.disk)
            case "table":
                self.save_table("large", "x" * 4_000_000)


def fill(disk: Path) -> None:
    """Leaves no block free."""
    with (disk / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def free(disk: Path) -> None:
    (disk / "ballast").unlink(missing_ok=True)


def on_small_disk(folder: Path, plan: dict[str, str]) -> dict[str, Any]:
    """Runs this module with a small disk mounted on `folder`, and returns what it printed."""
    found: dict[str, Any] = printed(folder, "-m", "tests.engine.run.small_disk", str(folder), json.dumps(plan))
    return found


def printed(folder: Path, *arguments: str) -> Any:
    """What Python prints with these arguments, as JSON, while a small disk is mounted on `folder`."""
    folder.mkdir()
    mounted = f'mount -t tmpfs -o size={DISK} none "$1" && shift && exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mounted, "sh", str(folder), sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def main(folder: Path, plan: dict[str, str]) -> dict[str, Any]:
    spec, watcher, workdir = tiny_spec(Heavy, cadence=Cadence(checkpoint=1), budget=Budget(steps=8)), Watcher(), folder / "run"
    Heavy.disk, Heavy.plan = folder, plan
    if "0" in plan:
        fill(folder)
    asked = watcher.stop_after(int(plan["stop"])) if "stop" in plan else None
    outcome = run_tiny(workdir, Heavy, watcher=watcher, spec=spec, stop=asked)
    left = [path.name for path in checkpoint.folders_in(workdir / checkpoint.FOLDER)]
    stray = sorted(path.name for path in folder.rglob(".*"))
    same: bool | None = None
    if outcome.status == "failed" and left:  # with room again it goes on
        free(folder)
        Heavy.plan = {}
        found, _ = checkpoint.newest_whole(workdir)
        again = run_tiny(workdir, Heavy, spec=spec, resume=found[0] if found else None)
        assert again.status == "succeeded", again.reason
    if (workdir / "student").exists():
        Heavy.plan = {}
        with tempfile.TemporaryDirectory() as whole:  # on another disk
            run_tiny(Path(whole), Heavy, spec=spec)
            same = student_bytes(Path(whole)) == student_bytes(workdir)
    return {
        "status": outcome.status,
        "step": outcome.step,
        "reason": outcome.reason,
        "warnings": [log.text for log in watcher.of(Log) if log.level == "warning"],
        "written": [event.step for event in watcher.of(Checkpoint)],
        "left": left,
        "stray": stray,
        "same": same,
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), json.loads(sys.argv[2]))))
