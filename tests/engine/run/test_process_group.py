"""Several devices, tried with two processes on the CPU: they learn what one process learns, and only the first is seen."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from engine.events import Outcome
from engine.method import Batch, Logs, Phase
from engine.run import checkpoint
from engine.run.export import load_model
from engine.run.process_group import ProcessGroup, joined_process_group
from engine.run.runner import execute
from engine.spec.run_spec import RunSpec
from tests.engine.tiny import Plain, Watcher, run_tiny, tiny_card, tiny_spec

ROOT = Path(__file__).parents[3]
DIGITS = RunSpec.parse({"method": "supervised", "task": "digits", "budget": {"epochs": 1}, "settings": {"optimizer": "sgd"}, "threads": 1})


class Shared(Plain):
    """Cross-entropy through a prepared module."""

    card = tiny_card("shared")

    def build(self) -> None:
        self.net = self.prepare(self.student)
        self.optimizer = self.make_optimizer(self.student)

    def phases(self) -> Iterator[Phase]:
        yield Phase("train", self.step, self.budget.steps)

    def step(self, batch: Batch) -> Logs:
        loss = F.cross_entropy(self.net(batch.inputs), batch.targets)
        self.update(self.optimizer, loss)
        return {"loss": loss}


def main(folder: Path) -> None:
    """What each of the processes does."""
    watcher, shared = Watcher(), Watcher()
    with joined_process_group():
        rank = torch.distributed.get_rank()
        outcome = run_tiny(folder / "run", Shared, watcher=shared, spec=tiny_spec(Shared, settings={"optimizer": "sgd"}, devices=2))
        stopped = run_tiny(
            folder / "stopped",
            Shared,
            watcher=watcher,
            spec=tiny_spec(Shared, settings={"optimizer": "sgd"}, devices=2),
            stop=lambda: rank == 0 and len(watcher.terms()) >= 4,
        )
        taken_up = run_tiny(
            folder / "taken-up",
            Shared,
            spec=tiny_spec(Shared, settings={"optimizer": "sgd"}, devices=2),
            resume=checkpoint.newest(folder / "alone"),
        )
        plain = run_tiny(folder / "plain", spec=tiny_spec(devices=2))
        supervised = execute(DIGITS.model_copy(update={"devices": 2}), Watcher(), folder / "supervised")
    said = {
        "supervised": supervised.status,
        "outcome": outcome.reason,
        "stopped": [stopped.status, stopped.step],
        "taken up": taken_up.status,
        "plain": plain.reason,
        "events": len(shared.events),
    }
    (folder / f"rank-{rank}.json").write_text(json.dumps(said))


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("process-group")
    watcher = Watcher()
    run_tiny(
        folder / "alone",
        Shared,
        watcher=watcher,
        spec=tiny_spec(Shared, settings={"optimizer": "sgd"}),
        stop=watcher.stop_after(4),
    )
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "tests.engine.run.test_process_group",
        str(folder),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder


def exported(folder: Path) -> torch.Tensor:
    """The student's parameters in one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in load_model(folder / "student")[0].parameters()])


def reported(folder: Path, rank: int) -> dict[str, object]:
    return dict(json.loads((folder / f"rank-{rank}.json").read_text()))


def test_two_processes_learn_what_one_learns_also_from_a_partial_batch(two_processes: Path, tmp_path: Path) -> None:
    run_tiny(tmp_path, Shared, spec=tiny_spec(Shared, settings={"optimizer": "sgd"}))

    one, two = (
        torch.cat([p.flatten() for p in load_model(folder / "student")[0].parameters()]) for folder in (tmp_path, two_processes / "run")
    )

    assert torch.allclose(one, two, rtol=0, atol=1e-6)


def test_two_processes_train_a_method_of_the_catalog_as_one_does(two_processes: Path, tmp_path: Path) -> None:
    execute(DIGITS, Watcher(), tmp_path)

    one, two = (
        torch.cat([p.flatten() for p in load_model(folder / "student")[0].parameters()])
        for folder in (tmp_path, two_processes / "supervised")
    )

    assert reported(two_processes, 0)["supervised"] == "succeeded"
    assert torch.allclose(one, two, rtol=0, atol=1e-5)


def test_a_checkpoint_of_two_devices_goes_on_with_one(two_processes: Path, tmp_path: Path) -> None:
    spec = tiny_spec(Shared, settings={"optimizer": "sgd"})
    run_tiny(tmp_path / "whole", Shared, spec=spec)

    outcome = run_tiny(tmp_path / "resumed", Shared, spec=spec, resume=checkpoint.newest(two_processes / "stopped"))

    assert outcome.status == "succeeded", outcome.reason
    assert torch.allclose(exported(tmp_path / "resumed"), exported(tmp_path / "whole"), rtol=0, atol=1e-6)


def test_a_checkpoint_of_one_device_goes_on_with_two(two_processes: Path, tmp_path: Path) -> None:
    run_tiny(tmp_path, Shared, spec=tiny_spec(Shared, settings={"optimizer": "sgd"}))

    taken_up = exported(two_processes / "taken-up")

    assert reported(two_processes, 0)["taken up"] == "succeeded"
    assert torch.allclose(taken_up, exported(tmp_path), rtol=0, atol=1e-6)


def test_only_the_first_process_is_seen(two_processes: Path) -> None:
    first, second = reported(two_processes, 0), reported(two_processes, 1)

    assert first["events"] > 12  # type: ignore[operator]
    assert second["events"] == 0


def test_all_processes_stop_when_the_first_is_asked_to(two_processes: Path) -> None:
    assert reported(two_processes, 0)["stopped"] == reported(two_processes, 1)["stopped"] == ["stopped", 4]
    assert [path.name for path in (two_processes / "stopped/checkpoints").iterdir()] == ["step-000000004"]


def test_a_method_that_prepares_no_module_is_refused_on_several_devices(two_processes: Path) -> None:
    assert reported(two_processes, 0)["plain"] == "devices: plain runs on one device; got 2."


def test_a_run_on_several_devices_needs_as_many_processes(tmp_path: Path) -> None:
    outcome = run_tiny(tmp_path, Shared, spec=tiny_spec(Shared, devices=2))

    sentence = "devices: the run asks for 2, but 1 process was started; use torchrun --nproc-per-node 2 -m engine run."
    assert outcome == Outcome("failed", 0, sentence, "devices", refused=True)


def test_a_process_alone_is_the_main_one_and_decides_for_itself() -> None:
    alone = ProcessGroup()

    assert alone.is_main_process
    assert alone.broadcast(True)
    assert not alone.broadcast(False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
