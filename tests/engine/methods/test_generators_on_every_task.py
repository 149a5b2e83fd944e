"""The methods of generators on each task and each network that they are offered with, by their tiny presets."""

import functools
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.events import Evaluation, Event, Metrics
from engine.evidence.experiment import ONLY_AT_THE_END
from engine.run.export import load_model
from engine.run.runner import execute
from engine.spec import catalog
from engine.spec.run_spec import RunSpec

TEACHER, START = (f"run:{uuid.UUID(int=number)}" for number in (1, 2))
FEW = {"points-2d": {"samples": 100, "held_out": 100}, "digits-images": {"samples": 100}, "mnist-images": {"samples": 100}}
SMALL = {
    "edm_mlp": {"width": 16, "blocks": 1, "sampler_steps": 3},
    "vp_mlp": {"width": 16, "layers": 2, "sampler_steps": 3},
    "edm_unet": {"widths": [8, 8], "sampler_steps": 2},
}
NETWORKS = [(task, name) for task in FEW for name in catalog.tasks()[task].architectures]

every_network = pytest.mark.parametrize(("task", "network"), NETWORKS, ids=[" ".join(each) for each in NETWORKS])


def run(folder: Path, task: str, network: str | None = None, models: dict[str, Path] | None = None, **fields: object) -> list[Event]:
    events: list[Event] = []
    common = {"task": task, "task_options": FEW[task], "cadence": ONLY_AT_THE_END, "threads": 1}
    if network is not None:
        builder = catalog.tasks()[task].architectures[network].builder
        common["student"] = {"name": network, "config": SMALL[builder]}
    outcome = execute(RunSpec.parse({**common, **fields}), events.append, folder, models=models or {})
    assert outcome.status == "succeeded", outcome.reason
    return events


def tiny(method: str) -> dict[str, object]:
    """The method and its tiny preset."""
    preset = catalog.methods()[method].presets["tiny"]
    return {"method": method, "settings": dict(preset.settings), "budget": dict(preset.budget)}


Made = Callable[[str, str, str], tuple[Path, list[Event]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A method's tiny run on a task with a network, made once: its folder and its events. It begins with what another such run has made."""

    @functools.cache
    def run_once(method: str, task: str, network: str) -> tuple[Path, list[Event]]:
        folder = tmp_path_factory.mktemp(method)
        if method == "denoising":
            return folder, run(folder, task, network, **tiny(method))
        if method == "pso":
            models = {START: run_once("decoupled-dmd", task, network)[0] / "student"}
            return folder, run(folder, task, models=models, **tiny(method), student=START)
        models = {TEACHER: run_once("denoising", task, network)[0] / "student"}
        return folder, run(folder, task, network, models, **tiny(method), teachers=[TEACHER])

    return run_once


def final(events: list[Event]) -> dict[str, float | None]:
    [found] = [event for event in events if isinstance(event, Evaluation) and event.subject == "student" and event.split == "test"]
    return dict(found.metrics)


def terms(events: list[Event]) -> list[dict[str, float]]:
    return [event.values for event in events if isinstance(event, Metrics) and "loss" in event.values]


@every_network
@pytest.mark.parametrize("method", ["denoising", "dmd2", "decoupled-dmd", "pso"])
def test_its_tiny_preset_runs_and_makes_what_the_task_judges(method, task, network, made):
    folder, events = made(method, task, network)

    model, meta = load_model(folder / "student", card=catalog.tasks()[task])
    assert meta["kind"] == ("denoiser" if method == "denoising" else "generator")
    assert model.evaluations == final(events)["evaluations"]
    assert model.levels == () if method == "denoising" else len(model.levels) == model.evaluations
    assert final(events)["energy_distance"] is not None
    assert len(terms(events)) == catalog.methods()[method].presets["tiny"].budget["steps"]
    assert all(torch.tensor(list(each.values())).isfinite().all() for each in terms(events))


@every_network
def test_a_generator_is_tuned_to_the_reward_of_its_task(task, network, made):
    spec = load_model(made("pso", task, network)[0] / "student")[1]["spec"]

    assert spec["settings"]["reward"] == catalog.tasks()[task].reward


def test_a_teacher_of_another_shape_is_refused_unless_the_student_begins_with_its_own_weights(made, tmp_path):
    spec = {**tiny("dmd2"), "task": "points-2d", "task_options": FEW["points-2d"], "teachers": [TEACHER], "threads": 1}
    spec["student"] = {"name": "vp-mlp-96", "config": SMALL["vp_mlp"]}
    models = {TEACHER: made("denoising", "points-2d", "edm-mlp-96")[0] / "student"}

    refused = execute(RunSpec.parse(spec), lambda event: None, tmp_path / "a", models=models)
    spec["settings"] = {**spec["settings"], "start": "student"}
    taken = execute(RunSpec.parse(spec), lambda event: None, tmp_path / "b", models=models)

    assert refused.status == "failed"
    assert refused.reason.startswith("student: must have the teacher's shape to begin with its weights (")
    assert refused.reason.endswith("; or set start to student.")
    assert taken.status == "succeeded", taken.reason


def test_a_denoiser_of_points_that_only_knows_the_null_condition_gives_guidance_nothing(made, tmp_path):
    models = {TEACHER: made("denoising", "points-2d", "edm-mlp-96")[0] / "student"}

    events = run(tmp_path, "points-2d", "edm-mlp-96", models, method="decoupled-dmd", teachers=[TEACHER], budget={"steps": 3})

    assert [each["size/augmentation"] for each in terms(events)] == [0.0, 0.0, 0.0]
