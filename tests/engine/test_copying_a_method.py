"""A new method that begins as a copy: the steps that the how-to lists are run as they stand there, in a copy of the project."""

import json
import re
from pathlib import Path

import pytest

from tests.engine.project_copy import ROOT, ProjectCopy

TEACHER = "run:00000000-0000-4000-8000-000000000001"
ITS_EVIDENCE = "python -m pytest -q tests/engine/test_every_method.py -k 'my-method and evidence_runs_it'"


def steps() -> list[str]:
    """The commands under "Begin with a copy", one a line."""
    text = (ROOT / "docs/how-to/add-a-method.md").read_text(encoding="utf-8")
    section = text.partition("## Begin with a copy")[2].partition("\n## ")[0]
    [block] = re.findall(r"^```bash\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [line.replace(".venv/bin/python", "python") for line in block.splitlines() if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> ProjectCopy:
    return ProjectCopy.make(tmp_path_factory.mktemp("copying") / "project")


def test_the_steps_of_the_how_to_make_a_method_and_forgotten_evidence_is_noticed(project: ProjectCopy) -> None:
    lines = steps()
    [evidence] = [line for line in lines if "evidence.py" in line]
    before, after = lines[: lines.index(evidence)], lines[lines.index(evidence) + 1 :]

    copied = project.shell("\n".join(before))
    forgotten = project.shell(ITS_EVIDENCE)
    changed = project.shell(f"{evidence}\n{ITS_EVIDENCE}")
    checked = project.shell("\n".join(after))

    assert copied.returncode == 0, copied.stderr
    assert forgotten.returncode == 1, forgotten.stdout
    assert "The evidence of my-method says that it is that of vanilla-kd; set method='my-method'." in forgotten.stdout
    assert "No arm of the evidence of my-method but the baseline runs it: " in forgotten.stdout
    assert changed.returncode == 0, changed.stdout
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert re.search(r"^my-method +logits +My method ", checked.stdout, re.MULTILINE)
    assert re.search(r"^\d+ passed", checked.stdout, re.MULTILINE)


def test_a_run_of_the_copy_distills(project: ProjectCopy, tmp_path: Path) -> None:
    common = {"task": "digits", "task_options": {"train_limit": 64}, "student": "mlp-16", "budget": {"epochs": 2}, "threads": 1}
    (tmp_path / "teacher.json").write_text(json.dumps({"method": "supervised", **common}))
    (tmp_path / "spec.json").write_text(json.dumps({"method": "my-method", "teachers": [TEACHER], **common}))

    ended = project.shell(
        f"""
        python -m engine run {tmp_path}/teacher.json --workdir {tmp_path}/teacher --quiet
        python -m engine run {tmp_path}/spec.json --workdir {tmp_path}/run --model {TEACHER}={tmp_path}/teacher/student --quiet
        """
    )

    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "run/student/model.json").read_text())["method"] == "my-method"
