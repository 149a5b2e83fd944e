"""What the command line keeps of a run's numbers, over stops, resumes and a second start."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.cli.main import main
from engine.cli.records import Records
from engine.events import Evaluation, Metrics
from engine.run import checkpoint
from tests.engine.cli.test_main import spec_file
from tests.engine.run.small_disk import printed


def lines(folder: Path, name: str = "metrics") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def test_a_run_leaves_the_terms_of_each_step_and_all_that_was_measured(tmp_path: Path) -> None:
    assert main(["run", spec_file(tmp_path, cadence={"evaluate": 2}), "--workdir", str(tmp_path / "run"), "--quiet"]) == 0

    metrics, evaluations = lines(tmp_path / "run"), lines(tmp_path / "run", "evaluations")
    assert [(line["step"], 0 < line["loss"] < 10) for line in metrics if "loss" in line] == [(step, True) for step in range(1, 7)]
    assert [(line["step"], set(line)) for line in metrics if "loss" not in line] == [
        (step, {"step", "learning_rate"}) for step in (2, 4, 6)
    ]
    assert [(line["step"], line["split"], line["final"]) for line in evaluations[:2]] == [
        (2, "validation", False),
        (4, "validation", False),
    ]
    assert (evaluations[-1]["split"], evaluations[-1]["final"]) == ("test", True)
    assert 0 <= evaluations[-1]["metrics"]["accuracy"] <= 1


def test_a_run_that_goes_on_has_each_step_once(tmp_path: Path) -> None:
    spec, run = spec_file(tmp_path, cadence={"checkpoint": 2, "evaluate": 3}), tmp_path / "run"
    assert main(["run", spec, "--workdir", str(run), "--quiet"]) == 0
    whole = [(run / name).read_bytes() for name in ("metrics.jsonl", "student/model.safetensors")]
    measured = [(line["step"], line["split"], line["final"]) for line in lines(run, "evaluations")]
    older, _ = checkpoint.folders_in(run / "checkpoints")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')  # killed while it wrote

    assert main(["run", spec, "--workdir", str(run), "--resume", str(older), "--quiet"]) == 0

    assert [(run / name).read_bytes() for name in ("metrics.jsonl", "student/model.safetensors")] == whole
    assert [(line["step"], line["split"], line["final"]) for line in lines(run, "evaluations")] == measured


def test_a_number_that_json_lacks_is_null_and_a_new_start_begins_new_files(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 5.0}\n')
    records = Records(tmp_path, made=0)

    records.add(Metrics(1, {"loss": 0.5, "wild": float("inf")}))
    records.add(Evaluation(1, "student", "validation", False, {"accuracy": None}))
    left = records.close()

    assert (left, lines(tmp_path)) == ("", [{"step": 1, "loss": 0.5, "wild": None}])
    assert lines(tmp_path, "evaluations") == [
        {"step": 1, "subject": "student", "split": "validation", "final": False, "metrics": {"accuracy": None}}
    ]


@pytest.mark.parametrize("room_again", [True, False])
def test_lines_that_find_no_room_wait_and_those_that_never_do_are_named(room_again: bool, tmp_path: Path) -> None:
    code = f"""
import json, sys
from pathlib import Path
from engine.cli.records import Records
from engine.events import Checkpoint, Metrics, Outcome
from tests.engine.run.small_disk import fill, free
folder = Path(sys.argv[1])
records = Records(folder, made=0)
records.add(Metrics(1, {{"loss": 1.0}})); records.add(Checkpoint(1, "c"))
fill(folder)
for step in range(2, 400):
    records.add(Metrics(step, {{"loss": 1.0}}))
records.add(Checkpoint(2, "c"))
between = (folder / "metrics.jsonl").read_text()
if {room_again}: free(folder)
records.add(Outcome("succeeded", 400, ""))
print(json.dumps([between, records.close(), (folder / "metrics.jsonl").read_text()]))
"""
    between, lost, text = printed(tmp_path / "disk", "-c", code, str(tmp_path / "disk"))

    assert between == '{"step": 1, "loss": 1.0}\n'
    steps = [json.loads(line)["step"] for line in text.splitlines()]
    if room_again:
        assert (lost, steps) == ("", list(range(1, 400)))
    else:
        assert steps == [1]
        assert lost.startswith("metrics.jsonl could not be written: no room on the store, ") and lost.endswith(
            " The last 398 lines are lost."
        )
