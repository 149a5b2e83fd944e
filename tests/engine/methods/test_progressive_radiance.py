"""The scene, its task and its stages."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from engine.errors import SpecError
from engine.events import Evaluation, Log, PhaseStarted
from engine.method import Length, MicroBatch, Position, RunContext
from engine.methods.progressive_radiance.card import Settings
from engine.methods.progressive_radiance.method import ProgressiveRadiance, albedo_guess, mixed_loss, photometric
from engine.metrics.scenes import psnr, scale_to, ssim_map
from engine.models.build import build
from engine.models.scene import SurfelScene
from engine.run.loader import no_batch
from engine.run.runner import execute
from engine.run.state import seal
from engine.spec import catalog
from engine.spec.run_spec import RunSpec
from engine.tasks.toy_scene.card import Options
from engine.tasks.toy_scene.task import ToyScene
from engine.tasks.toy_scene.truth import Truth

CONFIG = {"patches": 400, "height": 16, "width": 32, "start": 0.01, "fixed_progress": None}


@pytest.fixture(scope="module")
def task() -> ToyScene:
    return ToyScene(Options(), torch.device("cpu"))


def scene(seed: int = 0, **config: Any) -> SurfelScene:
    torch.manual_seed(seed)
    built = build("surfel_scene", {**CONFIG, **config})
    assert isinstance(built, SurfelScene)
    return built


def true_scene(task: ToyScene) -> SurfelScene:
    """A scene with the truth's material and light, drawn by them alone."""
    found, truth = scene(fixed_progress=1.0), task.truth
    with torch.no_grad():
        found.light.copy_(torch.log(torch.expm1(truth.light)))
        found.albedo_logits.copy_(torch.logit(truth.albedo))
        found.specular_logits.copy_(torch.logit(truth.specular))
    return found


def new(task: ToyScene, student: SurfelScene | None = None, *, steps: int = 6, **settings: Any) -> ProgressiveRadiance:
    """Built and sealed as the runner does it."""
    lines: list[str] = []
    method = ProgressiveRadiance(
        RunContext(
            task=task,
            settings=Settings(**settings),
            student=student or scene(),
            teachers=(),
            budget=Length(steps, 1),
            device=torch.device("cpu"),
            generator=torch.Generator().manual_seed(0),
            position=Position(),
            micro=MicroBatch(),
            log=lines.append,
            save_table=lambda name, content: None,
            save_tensors=lambda name, tensors, meta: None,
        )
    )
    method.build()
    seal(method)
    return method


def run_phase(method: ProgressiveRadiance, name: str, *, steps: int | None = None) -> list[dict[str, float]]:
    phase = next(each for each in method.phases() if each.name == name)
    assert phase.begin is not None
    phase.begin()
    told = []
    for step in range(steps or phase.steps):
        method.position.phase_step = step
        told.append({key: float(value.detach()) for key, value in phase.step(no_batch(torch.device("cpu"))).items()})
        method.position.step += 1
    return told


def values(method: ProgressiveRadiance) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in method.student.named_parameters()}


# The task


def test_the_photos_are_those_of_the_true_scene_with_a_ring_that_glows(task):
    found, view = true_scene(task), task.views["train"]

    with torch.no_grad():
        physical = found.render(view.pixels).physical

    ring = ~view.modeled
    assert torch.allclose(physical[view.modeled], view.photos[view.modeled], atol=1e-5)
    assert torch.allclose(view.photos[ring] - physical[ring], torch.tensor([0.6, 0.05, 0.05]).expand(int(ring.sum()), 3), atol=1e-5)


def test_the_true_scene_relights_without_error_and_has_no_error_of_material(task):
    with torch.no_grad():
        metrics = task.judge(true_scene(task).eval(), "test", teacher=None, final=True).metrics

    assert metrics["relight_psnr"] > 80
    assert metrics["relight_ssim"] == pytest.approx(1.0, abs=1e-4)
    assert metrics["albedo_error"] == pytest.approx(0.0, abs=1e-5)
    assert metrics["environment_error"] == pytest.approx(0.0, abs=1e-5)
    assert metrics["mean_progress"] == 1.0


def test_there_are_twelve_cameras_to_learn_from_and_six_others_to_be_judged_by(task):
    shapes = {split: tuple(view.pixels.mask.shape) for split, view in task.views.items()}

    assert shapes == {"train": (12, 32, 32), "validation": (4, 32, 32), "test": (6, 32, 32)}
    assert all(len(view.pixels) == len(view.photos) == len(view.modeled) for view in task.views.values())


def test_materials_are_those_of_the_specification():
    truth = Truth()
    patch = 37
    x, y, z = truth.centers[patch].tolist()

    assert truth.albedo[patch].tolist() == pytest.approx([0.5 + 0.35 * math.sin(3 * each) for each in (x, y, z)], abs=1e-6)
    expected = torch.where(truth.centers[:, 2:] > 0, torch.tensor(0.45), torch.tensor(0.25))
    assert torch.equal(truth.specular, expected)
    assert torch.equal(truth.modeled, (truth.centers[:, 2] + 0.3).abs() >= 0.13)


def test_a_factor_between_albedo_and_light_is_not_seen_but_fitted_away(task):
    """Albedo times s and light over s give the same diffuse image."""
    found, view = true_scene(task), task.views["test"]
    with torch.no_grad():
        before = found.render(view.pixels).diffuse
        found.albedo_logits.copy_(torch.logit(0.7 * task.truth.albedo))
        after = found.render(view.pixels, task.truth.light / 0.7).diffuse
        metrics = task.judge(found.eval(), "test", teacher=None, final=True).metrics

    assert torch.allclose(before, after, atol=1e-5)
    assert metrics["albedo_error"] > 0.1
    assert metrics["albedo_error_scaled"] == pytest.approx(0.0, abs=1e-5)


def test_white_constant_light_leaves_the_diffuse_image_as_the_albedo(task):
    found, view = scene(), task.views["test"]

    with torch.no_grad():
        shown = found.render(view.pixels, torch.ones(16 * 32, 3))

    assert torch.allclose(shown.diffuse, shown.albedo, rtol=1e-2)  # the irradiance of 16 × 32 pixels
    assert torch.allclose(shown.reflected, shown.specular.expand(-1, 3), atol=1e-5)


# Metrics


def test_a_tenth_of_error_is_twenty_decibels():
    assert psnr(torch.full((5, 3), 0.6), torch.full((5, 3), 0.5)) == pytest.approx(20.0, abs=1e-4)
    assert psnr(torch.ones(3), torch.ones(3)) == math.inf


def test_structural_similarity_is_that_of_the_library():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 3, 32, 32, generator=generator, dtype=torch.float64)
    pictures = (truth + 0.1 * torch.randn(truth.shape, generator=generator, dtype=torch.float64)).clamp(0, 1)

    found = ssim_map(pictures, truth)

    _, library = structural_similarity_index_measure(pictures, truth, data_range=1.0, sigma=1.5, kernel_size=11, return_full_image=True)
    inside = (..., slice(5, -5), slice(5, -5))  # the edges are padded otherwise
    assert torch.allclose(found[inside], library[inside], atol=1e-6)


def test_structural_similarity_keeps_its_digits_where_products_are_of_half_precision():
    # Means of squares near 0.5 whose difference is 0.0025: bfloat16 tells such means apart by steps of 0.002 to 0.004.
    generator = torch.Generator().manual_seed(0)
    truth = 0.7 + 0.05 * torch.randn(1, 3, 24, 24, generator=generator)
    pictures = truth + 0.02 * torch.randn(truth.shape, generator=generator)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ssim_map(pictures, truth)

    assert found.dtype == torch.float32
    assert torch.equal(found, ssim_map(pictures, truth))


def test_the_fitted_scale_is_the_best_of_each_channel():
    values, truth = (torch.rand(20, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in (0, 1))

    best = scale_to(values, truth)

    residual = truth - values * best
    assert torch.allclose((residual * values).sum(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-12)


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

    told = {name: value.detach() for name, value in phase.step(no_batch(torch.device("cpu"))).items()}

    assert float(told["loss"]) == pytest.approx(float(slow), abs=1e-5)
    assert float(told["loss/photos"]) == pytest.approx(float(absolute), abs=1e-5)


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

    losses = [told["loss"] for told in run_phase(method, "radiance")]

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

    told = run_phase(method, "distill")

    after = values(method)
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"light", "albedo_logits", "specular_logits"}
    assert told[0]["loss"] == told[0]["loss/physical"] and "progress" not in told[0]
    assert method.blueprint()["config"]["fixed_progress"] == 1.0


def test_a_fixed_share_in_between_blends_both_without_learning_it(task):
    method = new(task, steps=2, progress="fixed", fixed_progress=0.5)
    before = values(method)

    run_phase(method, "distill")

    moved = {name for name, value in values(method).items() if not torch.equal(before[name], value)}
    assert moved == {"radiance", "light", "albedo_logits", "specular_logits"}
    assert torch.equal(method.student.progress, torch.full((400, 1), 0.5))


def test_the_course_of_the_progress_counts_every_patch(task):
    method = new(task, steps=40)
    told = run_phase(method, "distill")

    tables = method.diagnostics().tables

    counts = tables["progress_histogram"]["counts"]
    assert method.physical[1:].tolist() == pytest.approx([told[2 * at - 1]["loss/physical"] for at in range(1, 21)])
    assert sum(counts["at the start"]) == sum(counts["now"]) == 400
    assert counts["at the start"][0] == 400
    assert tables["progress_course"]["series"]["0.0 to 0.1"]["x"] == list(range(0, 41, 2))


def test_what_goes_wrong_is_told(task):
    stuck, running = new(task, steps=20), new(task, steps=20)
    run_phase(stuck, "distill", steps=1)
    with torch.no_grad():
        running.student.albedo_logits.fill_(9.0)
        running.course[5, -1] = running.course[6, -1] = 400
        running.physical[5], running.physical[6] = 0.10, 0.11
        running.student.progress_logits.fill_(9.0)

    assert stuck._warnings() == [
        "Progress stayed where it began: the radiance field learns too fast, or the physical image has other colors."
    ]
    assert running._warnings() == [
        "Progress was near 1 everywhere after a quarter of the steps; lower push or p_init.",
        "The physical image alone became worse again: what it can't show is leaking into material and light.",
        "More than a tenth of the albedo is near 0 or 1: its scale and that of the light run away from each other.",
    ]


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
