"""Going on at the command line: from the newest checkpoint that is whole, or from the one that was asked for."""

import json
import shutil
from pathlib import Path

import pytest

from engine.cli.main import main
from engine.run import checkpoint
from tests.engine.cli.test_main import spec_file


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended, with its last two checkpoints and its student."""
    folder = tmp_path_factory.mktemp("made")
    assert main(["run", spec_file(folder, cadence={"checkpoint": 2}), "--workdir", str(folder / "run"), "--quiet"]) == 0
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of it that may be spoiled."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def resume(run: Path, *more: str) -> int:
    return main(["run", str(run / "spec.json"), "--workdir", str(run / "run"), "--resume", *more])


def test_a_damaged_checkpoint_is_passed_over_and_a_line_says_so(run: Path, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    older, newer = checkpoint.folders_in(run / "run/checkpoints")
    (newer / "tensors.safetensors").write_bytes(b"cut")

    code = resume(run)

    err = "".join(capsys.readouterr().err.split())
    assert code == 0
    assert (
        "".join(
            f"Warning: The checkpoint at {newer} is damaged: tensors.safetensors is truncated or was changed; choose an earlier one.".split()
        )
        in err
    )
    assert f"Goingonfrom{older}." in err
    assert (run / "run/student/model.safetensors").read_bytes() == (made / "run/student/model.safetensors").read_bytes()


def test_a_checkpoint_that_is_named_is_taken(run: Path, made: Path) -> None:
    older, newer = checkpoint.folders_in(run / "run/checkpoints")
    (newer / "notes").write_text("of the newer one, which is made anew")

    code = resume(run, str(older), "--quiet")

    assert (code, [path.name for path in newer.iterdir() if path.name == "notes"]) == (0, [])
    assert (run / "run/student/model.safetensors").read_bytes() == (made / "run/student/model.safetensors").read_bytes()


def test_a_checkpoint_that_is_named_and_not_whole_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = resume(run, str(run / "nowhere"))

    assert (code, capsys.readouterr().err) == (2, f"error: There is no checkpoint at {run / 'nowhere'}: state.json is missing.\n")


def test_where_all_are_damaged_each_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    older, newer = checkpoint.folders_in(run / "run/checkpoints")
    for folder in (older, newer):
        (folder / "state.json").unlink()

    code = resume(run)

    said = f"error: there is no checkpoint in {run / 'run'} to go on from; leave --resume out to start the run."
    each = [f" There is no checkpoint at {folder}: state.json is missing." for folder in (newer, older)]
    assert (code, capsys.readouterr().err) == (2, f"{said}{''.join(each)}\n")


@pytest.mark.parametrize("name", ["step-latest", "step-12", "step-000000009.bak", ".partial-000000009", "step-000000009"])
def test_what_else_lies_beside_the_checkpoints_is_nobodys(name: str, run: Path) -> None:
    (run / "run/checkpoints" / name).write_text("notes")

    code = resume(run, "--quiet")

    assert code == 0
    assert (run / "run/checkpoints" / name).read_text() == "notes"


def test_a_run_that_has_ended_goes_on_when_its_spec_has_more_steps(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = json.loads((run / "spec.json").read_text())
    _, newest = checkpoint.folders_in(run / "run/checkpoints")
    steps = int(newest.name.removeprefix("step-"))
    (run / "spec.json").write_text(json.dumps(spec | {"budget": {"steps": steps + 3}}))

    code = resume(run)

    lines = [json.loads(line) for line in (run / "run/metrics.jsonl").read_text().splitlines()]
    kept = [line["step"] for line in lines if "loss" in line]
    assert (code, kept) == (0, list(range(1, steps + 4)))
    assert f"Goesonafterstep{steps}withabudgetof{steps + 3}steps;" in "".join(capsys.readouterr().err.split())


def test_a_run_that_has_fewer_steps_in_its_spec_than_it_had_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = json.loads((run / "spec.json").read_text())
    (run / "spec.json").write_text(json.dumps(spec | {"budget": {"steps": 1}}))

    code = resume(run, "--quiet")

    assert code == 2
    assert capsys.readouterr().err.endswith("this run has 1 step. A run that goes on may have a larger budget, and no smaller one.\n")
