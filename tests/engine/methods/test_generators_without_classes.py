"""Examples that have no classes: the methods of generators ask for the null condition only."""

import pytest
import torch

from engine import catalog
from engine.events import Evaluation, Event, Metrics
from engine.evidence import ONLY_AT_THE_END
from engine.export import load_model
from engine.runner import execute
from engine.spec import RunSpec

TEACHER = "run:00000000-0000-0000-0000-000000000001"
SMALL = {"name": "edm-mlp-96", "config": {"width": 16, "blocks": 1, "sampler_steps": 3}}


def run(folder, models=None, **fields):
    events: list[Event] = []
    base = {
        "task": "points-2d",
        "task_options": {"samples": 100, "held_out": 100},
        "student": SMALL,
        "cadence": ONLY_AT_THE_END,
        "threads": 1,
    }
    outcome = execute(RunSpec.parse({**base, **fields}), events.append, folder, models=models or {})
    assert outcome.status == "succeeded", outcome.reason
    return events


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    run(folder, method="denoising", settings={"batch_size": 64}, budget={"steps": 60})
    return folder / "student"


@pytest.mark.parametrize(
    ("method", "settings"),
    [("dmd2", {"levels": [20.0, 1.0], "gan_weight": 0.01}), ("decoupled-dmd", {"guidance": 1.0, "gan_weight": 0.01})],
)
def test_points_are_distilled_as_pictures_are(method, settings, teacher, tmp_path):
    events = run(tmp_path, {TEACHER: teacher}, method=method, settings=settings, teachers=[TEACHER], budget={"steps": 5})

    model, meta = load_model(tmp_path / "student", card=catalog.tasks()["points-2d"])
    [final] = [event for event in events if isinstance(event, Evaluation) and event.subject == "student" and event.split == "test"]
    terms = [event.values for event in events if isinstance(event, Metrics) and "loss" in event.values]
    assert meta["kind"] == "generator"
    assert model.evaluations == len(model.levels) == final.metrics["evaluations"]
    assert final.metrics["energy_distance"] is not None
    assert all(torch.tensor(list(each.values())).isfinite().all() for each in terms)
    assert len(terms) == 5


def test_a_denoiser_of_points_that_only_knows_the_null_condition_gives_guidance_nothing(teacher, tmp_path):
    events = run(tmp_path, {TEACHER: teacher}, method="decoupled-dmd", teachers=[TEACHER], budget={"steps": 3})

    terms = [event.values for event in events if isinstance(event, Metrics) and "loss" in event.values]
    assert [each["size/augmentation"] for each in terms] == [0.0, 0.0, 0.0]
