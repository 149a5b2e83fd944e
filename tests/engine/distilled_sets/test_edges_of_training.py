"""Experts, sets and buffers where there is nothing to go by: no slope, no step, one piece, an odd size, a half-made buffer."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.distilled_sets.augmentation import OPERATIONS, apply, draw
from engine.distilled_sets.buffers import ExpertBuffer
from engine.distilled_sets.experts import flat_gradient, loss_rise, perturbation, surrogate_direction
from engine.distilled_sets.flat import PIECE, loss_gradient
from engine.distilled_sets.making import config_of
from engine.distilled_sets.matching import inner_plan, trajectory_errors
from engine.distilled_sets.settings import SetSettings
from engine.method import Batch
from engine.models.set_configs import SyntheticSetConfig
from engine.spec import catalog
from tests.engine.distilled_sets.matcher import BLUEPRINT
from tests.engine.distilled_sets.small import CLASSES, INPUTS, network, numbers, pictures, weights

CPU = torch.device("cpu")


# Experts


@pytest.mark.parametrize("adaptive", [True, False])
def test_where_there_is_no_slope_nothing_is_perturbed_and_nothing_is_undefined(adaptive: bool):
    theta, zeros = weights(0), torch.zeros_like(weights(0))

    found = flat_gradient(lambda point: (point * 0).sum(), theta, rho=0.5, alpha=0.5, adaptive=adaptive)

    assert torch.equal(perturbation(theta, zeros, rho=0.5, adaptive=adaptive), zeros)
    assert torch.equal(found.direction, zeros)
    assert (float(found.rise), float(found.cosine)) == (0.0, 0.0)


def test_in_a_bowl_the_perturbed_gradient_and_the_rise_have_their_closed_form():
    theta, curvature, rho = torch.tensor([3.0, -4.0], dtype=torch.float64), 0.5, 0.1

    found = flat_gradient(lambda point: 0.5 * curvature * point.square().sum(), theta, rho=rho, alpha=0.0, adaptive=False)

    # The gradient points away from 0, so the perturbed weights lie farther out by ρ: |θ| = 5 becomes 5.1.
    assert torch.allclose(found.direction, curvature * theta * 5.1 / 5, atol=1e-10)
    assert float(found.rise) == pytest.approx(0.5 * curvature * (5.1**2 - 5**2))
    assert float(found.cosine) == pytest.approx(1.0)


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100), alpha=st.floats(0, 1))
def test_the_direction_grows_with_both_gradients_and_the_cosine_sees_no_size(seed: int, scale: float, alpha: float):
    g, g_p = numbers(6, seed=seed), numbers(6, seed=seed + 1)

    direction, cosine = surrogate_direction(g, g_p, alpha=alpha)
    larger, same = surrogate_direction(scale * g, scale * g_p, alpha=alpha)

    assert torch.allclose(larger, scale * direction, rtol=1e-6, atol=1e-9)
    assert float(same) == pytest.approx(float(cosine), abs=1e-8)
    assert -1 - 1e-9 <= float(cosine) <= 1 + 1e-9


def test_the_rise_does_not_see_how_long_the_directions_are_and_is_zero_at_radius_zero():
    flat, theta, directions = network(), weights(1), numbers(4, len(weights(1)), seed=3)
    inputs, labels = pictures(6)

    near, far, none = (
        loss_rise(flat, theta, inputs, labels, directions=c * directions, radius=radius)
        for c, radius in ((1.0, 0.2), (9.0, 0.2), (1.0, 0.0))
    )

    assert torch.allclose(near, far, atol=1e-12)
    assert none[1:].tolist() == [0.0, 0.0] and float(none[0]) == pytest.approx(float(F.cross_entropy(flat(theta, inputs), labels)))
    assert float(near[2]) >= float(near[1])


# Flat networks


def test_rows_beyond_a_piece_are_answered_as_the_others_are():
    flat, inputs = network(), numbers(PIECE + 3, INPUTS)

    found = flat.logits(weights(0), inputs)

    assert found.shape == (PIECE + 3, CLASSES) and not found.requires_grad
    assert torch.allclose(found[-4:], flat(weights(0), inputs[-4:]), atol=1e-12)


def test_a_loss_and_its_gradient_have_no_graph_and_leave_the_weights_as_they_were():
    theta = weights(0).requires_grad_()
    with torch.no_grad():
        loss, gradient = loss_gradient(lambda point: point.square().sum(), theta)

    assert torch.allclose(gradient, 2 * theta.detach(), atol=1e-15)
    assert not loss.requires_grad and not gradient.requires_grad and theta.grad is None


# Matching


def test_without_a_step_the_accumulated_error_stays_one_and_a_cut_segment_is_not_measured():
    flat, (images, labels) = network(), pictures(3)
    trajectory = torch.stack([weights(seed) for seed in range(6)])

    found = trajectory_errors(flat, trajectory, images, labels, torch.tensor(0.1), steps=0, epochs=2)

    assert found == pytest.approx([1.0, 1.0])


def test_steps_of_a_chunk_have_augmentation_for_their_own_rows_alone():
    plan = inner_plan(5, rows=7, chunk=3, operations=["flip"], generator=torch.Generator().manual_seed(0), device=CPU)

    lengths = [len(step.rows) for step in plan]
    assert lengths == [3, 3, 1, 3, 3]
    assert [tuple(step.augmentation.numbers.shape) for step in plan] == [(length, 3) for length in lengths]
    assert sorted(torch.cat([step.rows for step in plan[:3]]).tolist()) == list(range(7))


# Augmentation


def test_without_an_operation_pictures_are_the_very_same():
    images = numbers(2, 1, 4, 4)

    assert draw([], 2, torch.Generator(), CPU) is None
    assert apply(images, None) is images


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (3, 3, 7, 5)])
def test_every_operation_keeps_shape_and_precision_and_no_picture_sees_another(operation: str, shape: tuple[int, ...]):
    images, drawn = numbers(*shape), draw([operation], 3, torch.Generator().manual_seed(1), CPU)
    changed = images.clone()
    changed[2] += 1

    found, again = apply(images, drawn), apply(changed, drawn)

    assert found.shape == images.shape and found.dtype == torch.float64
    assert torch.equal(found[:2], again[:2])


def test_in_the_middle_of_its_range_color_changes_nothing():
    images = numbers(2, 3, 4, 4)

    assert torch.allclose(OPERATIONS["color"](images, torch.full((2, 3), 0.5, dtype=torch.float64)), images, atol=1e-12)


# Buffers and sets


def buffer(**recipe: object) -> ExpertBuffer:
    return ExpertBuffer(2, 1, 3, recipe=recipe, device=CPU)


def test_a_recipe_is_named_alike_whatever_the_order_in_which_it_is_written():
    names = {buffer(a=1, b=[2]).recipe_hash, buffer(b=[2], a=1).recipe_hash, buffer(a=1, b=[3]).recipe_hash}

    assert len(names) == 2
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in names)


def test_a_buffer_that_is_not_complete_is_not_kept_and_a_complete_one_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STILLHOUSE_BUFFERS", str(tmp_path / "kept"))
    one = buffer(a=1)
    for expert, epoch in ((0, 0), (0, 1), (1, 0)):
        one.record(expert, epoch, torch.full((3,), 10.0 * expert + epoch))
    one.keep()
    half_made = list(tmp_path.rglob("*"))
    one.record(1, 1, torch.full((3,), 11.0))
    one.timed(lambda batch: {})(Batch(torch.zeros(1), None, torch.zeros(1, dtype=torch.int64)))
    one.keep()

    other = buffer(a=1)
    other.take_over()

    assert half_made == []
    assert [file.name for file in (tmp_path / "kept").iterdir()] == [f"{one.recipe_hash}.safetensors"]
    assert torch.equal(other.trajectories, one.trajectories) and other.is_complete
    assert (other.reused, other.steps) == (f"{one.recipe_hash}.safetensors", 1)
    assert other.remark == f"The experts are those of the buffer {other.reused}, whose 1 steps took {other.seconds:.1f} seconds."


def test_a_checkpoint_of_a_buffer_leaves_the_recipe_to_the_run_and_goes_on_in_the_tensors_that_are_there():
    one, other = buffer(a=1), buffer(a=2)
    one.record(0, 1, torch.ones(3))
    trajectories = other.trajectories

    other.load_state_dict(one.state_dict())

    assert other.recipe == {"a": 2} and "recipe" not in one.state_dict()
    assert other.trajectories is trajectories and trajectories[0, 1].tolist() == [1.0, 1.0, 1.0]
    assert other.recorded == 1 and not other.is_complete


def test_a_sets_configuration_says_what_was_chosen_for_it_and_names_its_network_by_its_blueprint_alone():
    chosen = SetSettings(images_per_class=3, networks=2, network_steps=7, unseen=["mlp-64"], baselines="small", augmentation=["flip"])
    card = catalog.tasks()["digits"]

    found = config_of(chosen, card, {**BLUEPRINT, "sha256": "of another"}, learned_rate=True, soft_labels=False, averaged=True)

    assert (found["rows"], found["classes"], found["shape"]) == (30, 10, list(card.input_shape))
    assert (found["learned_rate"], found["soft_labels"], found["averaged"]) == (True, False, True)
    assert found["network"] == BLUEPRINT
    assert found["unseen"] == [{"architecture": "mlp-64", "builder": "mlp", "config": dict(card.architectures["mlp-64"].config)}]
    assert found["recipe"] == {
        "networks": 2,
        "steps": 7,
        "learning_rate": 0.03,
        "unseen_learning_rate": 0.05,
        "augmentation": ["flip"],
        "baselines": "small",
    }
    assert SyntheticSetConfig.model_validate(found).rows == 30
