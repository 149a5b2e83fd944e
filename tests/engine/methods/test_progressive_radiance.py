"""Progressive radiance distillation: its loss, its stages, and what is refused."""

import math
from typing import Any

import pytest
import torch

from engine.errors import SpecError
from engine.events import Evaluation, Log, PhaseStarted
from engine.methods.progressive_radiance.method import albedo_guess, mixed_loss, photometric
from engine.metrics.scenes import ssim_map
from engine.run.loader import no_batch
from engine.run.runner import execute
from engine.spec import catalog
from engine.spec.run_spec import RunSpec
from engine.tasks.toy_scene.card import Options
from engine.tasks.toy_scene.task import ToyScene
from tests.engine.methods.scenes import new, run_phase, values


@pytest.fixture(scope="module")
def task() -> ToyScene:
    return ToyScene(Options(), torch.device("cpu"))


# The loss


def test_the_loss_is_the_slow_one(task):
    method = new(task, push=0.3, ssim_weight=0.2)
    view, student = task.views["train"], method.student
    with torch.no_grad():
        student.radiance.normal_(0.2, 0.1, generator=torch.Generator().manual_seed(1))
    phase = next(each for each in method.phases() if each.name == "distill")
    phase.begin()
    with torch.no_grad():
        shown = student.render(view.pixels)
        p = torch.sigmoid(student.progress_logits.double())
        image = (1 - p)[view.pixels.patch] * shown.raw.double() + p[view.pixels.patch] * shown.physical.double()
        similarity = ssim_map(view.pixels.images(image), view.pixels.images(view.photos.double())).mean(dim=1)
        absolute = (image - view.photos.double()).abs().sum() / (3 * len(view.photos))
        slow = 0.8 * absolute + 0.2 * (1 - similarity[view.pixels.mask].mean()) + 0.3 * (1 - p.mean())

    reported = {name: value.detach() for name, value in phase.step(no_batch(torch.device("cpu"))).items()}

    assert float(reported["loss"]) == pytest.approx(float(slow), abs=1e-5)
    assert float(reported["loss/photos"]) == pytest.approx(float(absolute), abs=1e-5)


def test_the_parts_of_the_loss_by_hand():
    image, photos = torch.tensor([[0.5, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.1]])

    assert photometric(image, photos).item() == pytest.approx(0.2)
    assert mixed_loss(absolute=torch.tensor(1.0), dissimilarity=torch.tensor(0.5), ssim_weight=0.2).item() == pytest.approx(0.9)


def test_the_first_albedo_is_that_which_makes_the_radiance_under_the_light():
    radiance, irradiance = torch.tensor([[0.1, 0.2, 5.0]]), torch.tensor([[math.pi, 2 * math.pi, math.pi]])

    assert albedo_guess(radiance=radiance, irradiance=irradiance).sigmoid().flatten().tolist() == pytest.approx([0.1, 0.1, 0.98], abs=1e-5)
    assert torch.isfinite(albedo_guess(radiance=-radiance, irradiance=torch.zeros(1, 3))).all()


# The stages


def test_the_first_stage_moves_the_radiance_field_alone(task):
    method = new(task, radiance_steps=3)
    before = values(method)

    losses = [reported["loss"] for reported in run_phase(method, "radiance")]

    after = values(method)
    assert [name for name in after if not torch.equal(before[name], after[name])] == ["radiance"]
    assert losses == sorted(losses, reverse=True)


def test_the_stage_of_reflections_leaves_albedo_and_the_later_progress_alone(task):
    method = new(task, mirror_steps=3)
    before = values(method)

    run_phase(method, "reflections")

    after = values(method)
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"radiance", "light", "specular_logits", "mirror_progress_logits"}


def test_the_main_stage_begins_its_progress_anew_and_without_moments(task):
    method = new(task, steps=3, mirror_steps=2, p_init=0.02)
    run_phase(method, "reflections")
    run_phase(method, "distill")
    logits = method.student.progress_logits
    assert logits in method.optimizer.state and not torch.allclose(logits.sigmoid(), torch.tensor(0.02), atol=1e-3)

    next(each for each in method.phases() if each.name == "distill").begin()

    assert torch.allclose(method.student.progress, torch.full((400, 1), 0.02), atol=1e-6)
    assert logits not in method.optimizer.state
    assert method.student.mirror_progress_logits in method.optimizer.state


def test_a_rate_of_zero_freezes_a_group_that_has_a_gradient(task):
    method = new(task, steps=2, late_radiance_rate=0.0, light_rate=0.0)
    before = values(method)

    run_phase(method, "distill")

    after = values(method)
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"albedo_logits", "specular_logits", "progress_logits"}


def test_rates_are_those_of_the_stage(task):
    method = new(task, mirror_steps=1, joint_steps=1)
    stages = {}
    for phase in method.phases():
        phase.begin()
        stages[phase.name] = {group["name"]: group["lr"] for group in method.optimizer.param_groups}

    assert stages["radiance"] == {"radiance": 0.03, "light": 0, "albedo": 0, "specular": 0, "mirror_progress": 0, "progress": 0}
    assert stages["reflections"]["albedo"] == 0 and stages["reflections"]["mirror_progress"] == 0.05
    assert stages["distill"]["specular"] == pytest.approx(0.002) and stages["distill"]["albedo"] == 0.02
    assert stages["together"]["progress"] == pytest.approx(0.005) and stages["together"]["mirror_progress"] == 0


def test_the_step_is_adams_with_a_rate_for_each_kind(task):
    """After one step of Adam every number with a gradient has moved by its rate."""
    method = new(task, steps=1, push=0.5)
    phase = next(each for each in method.phases() if each.name == "distill")
    phase.begin()
    before = values(method)

    phase.step(no_batch(torch.device("cpu")))

    for name, rate in (("albedo_logits", 0.02), ("light", 0.03), ("progress_logits", 0.05)):
        moved = (values(method)[name] - before[name]).abs()
        assert torch.median(moved[moved > 0]).item() == pytest.approx(rate, rel=5e-2)  # gradients are near Adam's eps


def test_the_push_pulls_every_progress_up_where_both_images_are_equal(task):
    pushed, free = new(task, steps=1, push=0.01, radiance_steps=0), new(task, steps=1, push=0.0, radiance_steps=0)
    for method in (pushed, free):
        # Nobody's image depends on the progress: the light is off, and the radiance field is black.
        with torch.no_grad():
            method.student.light.fill_(-200.0)
        run_phase(method, "distill")

    assert (pushed.student.progress > 0.0104).all()
    assert torch.allclose(free.student.progress, torch.full((400, 1), 0.01), atol=1e-6)


def test_a_fixed_progress_of_one_is_the_direct_fit(task):
    method = new(task, steps=2, progress="fixed", fixed_progress=1.0, radiance_steps=2)
    run_phase(method, "radiance")
    before = values(method)

    reported = run_phase(method, "distill")

    after = values(method)
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"light", "albedo_logits", "specular_logits"}
    assert reported[0]["loss"] == reported[0]["loss/physical"] and "progress" not in reported[0]
    assert method.blueprint()["config"]["fixed_progress"] == 1.0


def test_a_fixed_share_in_between_blends_both_without_learning_it(task):
    method = new(task, steps=2, progress="fixed", fixed_progress=0.5)
    before = values(method)

    run_phase(method, "distill")

    moved = {name for name, value in values(method).items() if not torch.equal(before[name], value)}
    assert moved == {"radiance", "light", "albedo_logits", "specular_logits"}
    assert torch.equal(method.student.progress, torch.full((400, 1), 0.5))


# What is refused


def test_reflections_can_not_be_distilled_with_a_fixed_progress():
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "progressive-radiance", "task": "toy-scene", "settings": {"progress": "fixed", "mirror_steps": 5}})

    assert str(refused.value) == "settings.mirror_steps: must be 0 where the progress is fixed; got 5."


def test_sixteen_bit_floats_that_need_a_loss_scale_are_refused():
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "progressive-radiance", "task": "toy-scene", "device": "cuda", "precision": "float16"})

    assert str(refused.value) == "precision: must be float32 or bfloat16: its updates have no loss scale; got float16."


def test_a_run_shows_its_cameras_and_goes_through_all_stages(tmp_path):
    events: list[Any] = []
    tiny = catalog.methods()["progressive-radiance"].presets["tiny"]
    spec = {
        "method": "progressive-radiance",
        "task": "toy-scene",
        "settings": dict(tiny.settings),
        "budget": dict(tiny.budget),
        "threads": 1,
    }

    outcome = execute(RunSpec.parse(spec), events.append, tmp_path)

    assert outcome.status == "succeeded", outcome.reason
    assert [event.name for event in events if isinstance(event, PhaseStarted)] == ["radiance", "reflections", "distill", "together"]
    final = next(event for event in events if isinstance(event, Evaluation) and event.final and event.split == "test")
    cameras = final.tables["cameras"]
    assert cameras["columns"] == ["photo", "raw", "physical", "blend", "progress", "albedo", "normal"]
    assert all(picture.startswith("data:image/png;base64,") for row in cameras["rows"] for picture in row["images"])
    assert not [event for event in events if isinstance(event, Log) and event.level == "error"]
