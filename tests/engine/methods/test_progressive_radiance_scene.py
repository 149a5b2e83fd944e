"""The scene that progressive radiance distillation finds, its task, the course of a run, and what is said of it."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.methods.progressive_radiance.card import Settings
from engine.methods.progressive_radiance.course import ProgressCourse
from engine.methods.progressive_radiance.early_warnings import early_warnings
from engine.methods.progressive_radiance.evidence import at_picture_scale
from engine.models.scene import SurfelScene
from engine.run.export import save_model
from engine.tasks.toy_scene.card import Options
from engine.tasks.toy_scene.task import ToyScene
from engine.tasks.toy_scene.truth import Truth
from tests.engine.methods.scenes import CONFIG, new, run_phase, scene, true_scene


@pytest.fixture(scope="module")
def task() -> ToyScene:
    return ToyScene(Options(), torch.device("cpu"))


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


# The course, and what goes wrong


def test_the_course_of_the_progress_counts_every_patch(task):
    method = new(task, steps=40)
    logs = run_phase(method, "distill")

    tables = method.diagnostics().tables

    counts = tables["progress_histogram"]["counts"]
    assert method.course.errors[1:].tolist() == pytest.approx([logs[2 * at - 1]["loss/physical"] for at in range(1, 21)])
    assert sum(counts["at the start"]) == sum(counts["now"]) == 400
    assert counts["at the start"][0] == 400
    assert tables["progress_course"]["series"]["0.0 to 0.1"]["x"] == list(range(0, 41, 2))


def test_the_course_goes_on_to_the_end_where_steps_are_no_multiple_of_its_notes(task):
    method = new(task, steps=39)
    run_phase(method, "distill")

    assert method.diagnostics().tables["progress_course"]["series"]["0.0 to 0.1"]["x"] == list(range(0, 39, 2))


def test_the_course_is_that_of_the_main_stage_alone(task):
    method = new(task, steps=4, joint_steps=3, p_init=0.5, push=1.0)
    run_phase(method, "distill")
    counts, errors = method.course.counts.clone(), method.course.errors.clone()

    run_phase(method, "together")

    assert torch.equal(method.course.counts, counts) and torch.equal(method.course.errors, errors)


def after(progress: float, *, steps: int = 600, errors: tuple[float, ...] = (0.2, 0.1), albedo: float = 0.5, **settings: Any) -> list[str]:
    """The warnings after a main stage that ends with this progress and albedo everywhere; the physical image's errors at its notes."""
    chosen, student, course = Settings(**settings), scene(), ProgressCourse(steps, torch.device("cpu"))
    for note, error in enumerate(errors):
        course.note(note * course.every, progress=torch.full((400, 1), progress), physical=torch.tensor(error))
    with torch.no_grad():
        student.progress_logits.fill_(math.log(progress / (1 - progress)))
        student.albedo_logits.fill_(math.log(albedo / (1 - albedo)))
    return early_warnings(student, course, chosen)


STUCK = "Progress rose in no patch: the radiance field learns too fast, or the physical image has other colors."


def test_a_stage_that_went_well_says_nothing():
    assert after(0.6) == []


@pytest.mark.parametrize(
    ("p_init", "progress", "warnings"),
    [(0.01, 0.0101, [STUCK]), (0.01, 0.03, []), (0.5, 0.6, [STUCK]), (0.5, 0.7, []), (0.5, 0.05, [STUCK])],
)
def test_progress_that_rose_nowhere_is_warned_of_whatever_it_began_with(p_init: float, progress: float, warnings: list[str]):
    # From 0.01 the odds have doubled at 2/101 = 0.0198, from 0.5 at 2/3.
    assert after(progress, p_init=p_init) == warnings


def test_a_stage_too_short_for_progress_to_rise_is_not_warned_of():
    # 13 steps of 0.05 move the log-odds by 0.65 at most, and ln 2 = 0.69.
    assert [after(0.0101, steps=steps) for steps in (13, 14)] == [[], [STUCK]]


def test_one_patch_that_rose_is_enough(task):
    student, course = scene(), ProgressCourse(600, torch.device("cpu"))
    with torch.no_grad():
        student.progress_logits[17] = 0.0

    assert early_warnings(student, course, Settings()) == []


def test_a_fixed_progress_is_not_expected_to_rise():
    assert early_warnings(scene(fixed_progress=1.0), ProgressCourse(600, torch.device("cpu")), Settings(progress="fixed")) == []


@pytest.mark.parametrize(("progress", "warned"), [(0.95, True), (0.85, False)])
def test_progress_near_one_everywhere_after_a_quarter_is_warned_of(progress: float, warned: bool):
    sentence = "Progress was near 1 everywhere after a quarter of the steps; lower push or p_init."

    # A note each 30 of 600 steps: the sixth is that of step 150.
    assert (after(progress, errors=(0.2, 0.19, 0.18, 0.17, 0.16, 0.15)) == [sentence]) is warned
    assert after(progress, errors=(0.2, 0.19, 0.18, 0.17, 0.16)) == []


@pytest.mark.parametrize(("last", "warned"), [(0.106, True), (0.104, False)])
def test_a_physical_image_that_became_worse_again_is_warned_of(last: float, warned: bool):
    sentence = "The physical image alone became worse again: what it can't show is leaking into material and light."

    assert after(0.6, errors=(0.2, 0.1, last)) == ([sentence] if warned else [])


@pytest.mark.parametrize(("albedo", "warned"), [(0.985, True), (0.015, True), (0.97, False)])
def test_a_saturated_albedo_is_warned_of(albedo: float, warned: bool):
    sentence = "More than a tenth of the albedo is near 0 or 1: its scale and that of the light run away from each other."

    assert after(0.6, albedo=albedo) == ([sentence] if warned else [])


def test_warnings_are_logged_when_the_main_stage_ends(task):
    lines: list[str] = []
    method = new(task, log=lines.append, steps=20, p_init=0.5, progress_rate=0.04, push=0.0)
    phase = next(each for each in method.phases() if each.name == "distill")
    phase.begin()

    phase.end()

    assert lines == [STUCK]


# The evidence's rows at picture scale


def relit_at_picture_scale(found: SurfelScene, folder: Path) -> float:
    config = {**CONFIG, "fixed_progress": found.fixed_progress}
    meta = {"kind": "scene", "task": "toy-scene", "builder": "surfel_scene", "config": config, "architecture": "surfels-400"}
    save_model(folder, found, {**meta, "classes": None, "input_shape": [3, 32, 32], "method": "progressive-radiance", "spec": {}})
    psnr = at_picture_scale("direct")(0, {"direct": folder})["relight_psnr"]
    assert psnr is not None
    return psnr


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_at_picture_scale_material_of_half_the_truth_relights_without_error(task, tmp_path, share: float):
    found = true_scene(task)
    with torch.no_grad():
        found.albedo_logits.copy_(torch.logit(share * task.truth.albedo))
        found.specular_logits.copy_(torch.logit(share * task.truth.specular))

    scaled = relit_at_picture_scale(found, tmp_path / "student")

    with torch.no_grad():
        as_it_is = task.judge(found.eval(), "test", teacher=None, final=True).metrics["relight_psnr"]
    assert scaled > 80
    assert (as_it_is > 80) is (share == 1.0)


def test_at_picture_scale_a_wrong_pattern_stays_wrong(task, tmp_path):
    found = true_scene(task)
    with torch.no_grad():
        found.albedo_logits.fill_(0.0)

    assert relit_at_picture_scale(found, tmp_path / "student") < 30
