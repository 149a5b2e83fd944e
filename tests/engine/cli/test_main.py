"""The command line: exit codes, and what a person reads."""

import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.cli.main import main
from engine.run.export import load_model
from engine.spec import catalog
from tests.waiting import wait_for

ROOT = Path(__file__).parents[3]
SPEC: dict[str, Any] = {
    "method": "supervised",
    "task": "digits",
    "task_options": {"train_limit": 150},
    "budget": {"epochs": 2},
    "threads": 1,
}
TEACHER = "run:00000000-0000-4000-8000-000000000001"


def spec_file(folder: Path, **fields: Any) -> str:
    path = folder / "spec.json"
    path.write_text(json.dumps({**SPEC, **fields}))
    return str(path)


def test_a_run_that_succeeds_exits_0_and_says_where_the_student_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["run", spec_file(tmp_path), "--workdir", str(tmp_path / "run")])

    out, err = capsys.readouterr()
    assert code == 0
    assert out.startswith("Finished 6 steps in ")
    assert out.endswith(f"The student is in {tmp_path / 'run/student'}.\n")
    assert "student on test: accuracy 0." in err
    assert load_model(tmp_path / "run/student")[1]["task"] == "digits"


def test_a_spec_is_read_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(SPEC)))

    assert main(["run", "-", "--workdir", str(tmp_path), "--quiet"]) == 0


def test_a_student_becomes_the_teacher_of_the_next_run(tmp_path: Path) -> None:
    main(["run", spec_file(tmp_path), "--workdir", str(tmp_path / "first"), "--quiet"])
    distilled = spec_file(tmp_path, method="vanilla-kd", teachers=[TEACHER])

    code = main(["run", distilled, "--workdir", str(tmp_path / "second"), "--model", f"{TEACHER}={tmp_path / 'first/student'}", "--quiet"])

    assert code == 0


def test_a_run_that_fails_exits_1_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wild = spec_file(tmp_path, settings={"optimizer": "sgd", "learning_rate": 100.0, "momentum": 0.999}, budget={"steps": 500})

    code = main(["run", wild, "--workdir", str(tmp_path / "run"), "--quiet"])

    assert code == 1
    assert re.match(r"error: \S+.* became (nan|inf) at step \d+\. The last good checkpoint is kept", capsys.readouterr().err)


def test_a_model_that_is_not_there_is_the_persons_to_mend_and_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    distilled = spec_file(tmp_path, method="vanilla-kd", teachers=[TEACHER])

    code = main(["run", distilled, "--workdir", str(tmp_path / "run"), "--model", f"{TEACHER}={tmp_path / 'nowhere'}", "--quiet"])

    assert code == 2
    assert capsys.readouterr().err == f"error: teachers.0: There is no model at {tmp_path / 'nowhere'}.\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "{folder}/none.json"], "the spec {folder}/none.json can't be read: No such file or directory."),
        (["run", "{folder}"], "the spec {folder} can't be read: Is a directory."),
        (
            ["run", "{folder}/spec.json", "--resume", "--workdir", "{folder}"],
            "there is no checkpoint in {folder} to go on from; leave --resume out to start the run.",
        ),
        (["run", "{folder}/spec.json", "--model", "teacher"], "--model takes run:<uuid>=FOLDER; got 'teacher'."),
        (["run", "{folder}/bad.json"], "settings.learning_rate: must be greater than 0; got -1."),
        (
            ["evidence", "alchemy"],
            f"method: there is no method 'alchemy'; choose one of {', '.join(catalog.methods())}.",
        ),
        (["evidence", "vanilla-kd", "--seeds", "0"], "--seeds must be at least 1; got 0."),
    ],
)
def test_refused_input_exits_2_with_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.json").write_text(json.dumps({**SPEC, "settings": {"learning_rate": -1}}))
    spec_file(tmp_path)

    code = main([argument.format(folder=tmp_path) for argument in arguments])

    out, err = capsys.readouterr()
    assert code == 2
    assert err == f"error: {sentence.format(folder=tmp_path)}\n"
    assert out == ""


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", spec_file(tmp_path), "--workdir", str(tmp_path / "run"), "--quiet"])

    code = main(["run", spec_file(tmp_path), "--workdir", str(tmp_path / "run"), "--quiet"])

    assert code == 2
    assert (
        capsys.readouterr().err
        == f"error: {tmp_path / 'run'} holds a run already; go on with --resume, or choose another folder with --workdir.\n"
    )


@pytest.mark.parametrize(
    ("command", "known"), [("methods", ["supervised", "vanilla-kd", "ps-kd", "logit-standardization"]), ("tasks", ["digits", "mnist"])]
)
def test_the_catalog_is_listed_a_line_each(command: str, known: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = main([command])

    first_words = {line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]}
    assert code == 0
    assert set(known) <= first_words


def test_ctrl_c_stops_with_a_checkpoint_and_resume_goes_on_to_the_same_student(tmp_path: Path) -> None:
    spec = spec_file(tmp_path, budget={"steps": 2000}, cadence={"evaluate": 100_000, "checkpoint": 100})
    command = [sys.executable, "-m", "engine", "run", spec, "--workdir", str(tmp_path / "run")]
    interrupted = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(
        lambda: any(tmp_path.glob("run/checkpoints/step-*")) or interrupted.poll() is not None, seconds=60, every=0.1, what="a checkpoint"
    )

    interrupted.send_signal(signal.SIGINT)
    out, err = interrupted.communicate(timeout=240)
    resumed = main(["run", spec, "--workdir", str(tmp_path / "run"), "--resume", "--quiet"])
    whole = main(["run", spec, "--workdir", str(tmp_path / "whole"), "--quiet"])

    assert interrupted.returncode == 130, err
    assert out.startswith("Stopped as asked after step ")
    assert (resumed, whole) == (0, 0)
    assert (tmp_path / "run/student/model.safetensors").read_bytes() == (tmp_path / "whole/student/model.safetensors").read_bytes()
