"""The best student by validation, which a run of gkd leaves beside the last one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from engine.events import Artifact, Evaluation
from engine.evidence.tiny_runs import TinyRuns, fewer
from engine.models.build import build
from engine.run.export import load_model
from engine.run.runner import execute
from engine.spec import catalog
from engine.spec.run_spec import RunSpec
from engine.tasks.stdlib_text.task import StdlibText
from tests.engine.tiny import Watcher, student_bytes

CARD = catalog.methods()["gkd"]
KL = "rollout_kl_student_teacher"
DECAYING = {"learning_rate": 0.02, "optimizer": "adamw", "weight_decay": 10.0}
"""A student that begins as its teacher and whose weights shrink gets worse, so that the best is not the last."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyRuns:
    return TinyRuns(CARD, tmp_path_factory.mktemp("models"), options=fewer(catalog.tasks()[CARD.task]))


def spec(tiny: TinyRuns, **fields: Any) -> RunSpec:
    common = {"settings": DECAYING, "student": tiny.teachers[0], "budget": {"steps": 8}, "cadence": {"evaluate": 2, "checkpoint": 3}}
    return tiny.spec(**{**common, **fields})


def best(workdir: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The kept weights and the facts beside them."""
    path = workdir / "tensors/best_student.safetensors"
    with safe_open(path, framework="pt") as file:
        return load_file(path), json.loads(file.metadata()["meta"])


def validations(watcher: Watcher) -> dict[int, float]:
    """What the student was judged by at each step; the last one at the run's end."""
    found = [event for event in watcher.of(Evaluation) if (event.subject, event.split) == ("student", "validation")]
    return {event.step: event.metrics[KL] for event in found}


def test_it_is_the_one_that_was_best_on_validation_and_the_exported_one_is_still_the_last(tiny, tmp_path):
    watcher, rarely = Watcher(), {"evaluate": 1000, "checkpoint": 1000}
    assert execute(spec(tiny), watcher, tmp_path / "often", models=tiny.models).status == "succeeded"
    assert execute(spec(tiny, cadence=rarely), Watcher(), tmp_path / "rarely", models=tiny.models).status == "succeeded"

    weights, facts = best(tmp_path / "often")
    course = validations(watcher)
    step = min(course, key=lambda at: (course[at], at))
    assert len(course) == 4 and step < 8
    assert (facts["metric"], facts["value"], facts["step"]) == (f"validation/{KL}", course[step], step)
    assert student_bytes(tmp_path / "often") == student_bytes(tmp_path / "rarely")
    # Judged at its end alone, a run has no other best than its last.
    last, facts_of_last = best(tmp_path / "rarely")
    exported = load_file(tmp_path / "rarely/student/model.safetensors")
    assert facts_of_last["step"] == 8 and all(torch.equal(last[name], tensor) for name, tensor in exported.items())
    assert any(not torch.equal(weights[name], tensor) for name, tensor in exported.items())
    assert [event.name for event in watcher.of(Artifact)] == ["student", "best_student"]


def test_it_can_be_built_again_and_is_judged_as_it_was(tiny, tmp_path):
    assert execute(spec(tiny), Watcher(), tmp_path, models=tiny.models).status == "succeeded"
    weights, facts = best(tmp_path)

    model = build(facts["builder"], facts["config"])
    model.load_state_dict(weights)
    teacher, _ = load_model(tiny.models[tiny.teachers[0]])
    task = StdlibText(catalog.tasks()[CARD.task].options.model_validate(spec(tiny).task_options), torch.device("cpu"))
    with torch.no_grad():
        judged = task.judge(model.eval(), "validation", teacher=teacher.eval(), final=False)

    assert judged.metrics[KL] == facts["value"]


def test_a_resumed_run_keeps_the_same_one(tiny, tmp_path):
    """Stopped at step 5, after the best so far was seen at an earlier one."""
    before, whole = Watcher(), Watcher()
    execute(spec(tiny), whole, tmp_path / "whole", models=tiny.models)
    execute(spec(tiny), before, tmp_path / "stopped", models=tiny.models, stop=before.stop_after(5))
    resume = tmp_path / "stopped/checkpoints/step-000000005"

    outcome = execute(spec(tiny), Watcher(), tmp_path / "resumed", models=tiny.models, resume=resume)

    assert outcome.status == "succeeded", outcome.reason
    assert not (tmp_path / "stopped/tensors/best_student.safetensors").exists()
    assert best(tmp_path / "whole")[1]["step"] < 5
    files = [(tmp_path / name / "tensors/best_student.safetensors").read_bytes() for name in ("whole", "resumed")]
    assert files[0] == files[1]
