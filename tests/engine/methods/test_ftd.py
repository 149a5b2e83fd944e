"""Flat trajectory distillation: what it adds to matching trajectories, and what it equals without."""

import copy

import pytest
import torch
import torch.nn.functional as F

from engine.distilled_sets.experts import flat_gradient
from engine.distilled_sets.flat import FlatNetwork, fresh_weights
from engine.errors import SpecError
from engine.seeds import derived_seed
from engine.spec.run_spec import RunSpec
from tests.engine.distilled_sets.matcher import BLUEPRINT, digits, finished, new_matcher, walk

CPU = torch.device("cpu")
PLAIN = {"rho": 0.0, "alpha": 0.0, "ema_decay": None}


def test_with_no_radius_and_no_average_it_is_matching_training_trajectories():
    flat, plain = finished(new_matcher("ftd", PLAIN)), finished(new_matcher("mtt"))

    assert torch.allclose(flat.experts.trajectories, plain.experts.trajectories, atol=1e-6)
    assert torch.allclose(flat.set.images, plain.set.images, atol=1e-4)


def test_a_radius_makes_other_experts_and_another_set():
    flat, plain = finished(new_matcher("ftd", {"ema_decay": None})), finished(new_matcher("mtt"))

    assert (flat.experts.trajectories[:, -1] - plain.experts.trajectories[:, -1]).norm() > 0.05 * (
        plain.experts.trajectories[:, -1] - plain.experts.trajectories[:, 0]
    ).norm()
    assert not torch.allclose(flat.set.images, plain.set.images, atol=1e-4)
    assert flat.experts.recipe_hash != plain.experts.recipe_hash


def test_momentum_holds_the_direction_and_decay_is_that_of_the_restored_weights():
    settings = {"experts": 1, "expert_momentum": 0.9, "expert_weight_decay": 0.1}
    method = new_matcher("ftd", settings)
    steps = walk(method)
    next(steps)
    next(steps)

    train, network = digits().splits["train"], FlatNetwork.of(method.student)
    order = torch.randperm(150, generator=torch.Generator().manual_seed(derived_seed(0, "expert", 0)))
    theta, velocity = fresh_weights(BLUEPRINT, 0, CPU), 0
    for rows in order.split(75):
        found = flat_gradient(
            lambda point, rows=rows: F.cross_entropy(network(point, train.inputs[rows]), train.targets[rows]),
            theta,
            rho=0.5,
            alpha=0.4,
            adaptive=True,
        )
        velocity = 0.9 * velocity + found.direction + 0.1 * theta
        theta = theta - 0.03 * velocity
    assert torch.allclose(method.theta, theta, atol=1e-6)


def test_both_passes_of_a_step_see_the_same_augmentation():
    # With radius 0 the two gradients are one, unless the pictures differ.
    method = new_matcher("ftd", {**PLAIN, "augmentation": ["crop", "cutout", "rotate"]})

    terms = [terms for _, terms in walk(method, until="initialize")]

    assert all(step["expert_cosine"].item() == pytest.approx(1.0, abs=1e-5) and step["expert_rise"] == 0 for step in terms)


def test_the_cosine_is_shown_by_epoch_and_the_loss_rises_along_the_perturbation():
    method = new_matcher("ftd", {"rho": 0.5})

    terms = [terms for _, terms in walk(method, until="initialize")]

    first_epoch = [step["expert_cosine"].item() for step in terms[:2]]
    assert method.experts.cosines.shape == (2, 3)
    assert method.experts.cosines[0, 0].item() == pytest.approx(sum(first_epoch) / 2)
    assert all(step["expert_rise"] > 0 for step in terms)
    assert method.diagnostics().metrics["expert_cosine"] == pytest.approx(float(method.experts.cosines.mean()))
    curves = method.diagnostics().tables["expert_cosines"]["series"]
    assert list(curves) == ["seed 0", "seed 1"] and curves["seed 0"]["x"] == [1, 2, 3]


def test_the_product_is_the_average_with_the_last_pictures_beside_it_and_both_are_judged():
    method = finished(new_matcher("ftd", {"ema_decay": 0.5, "network_steps": 20}))
    product = method.product()

    judged = digits().judge(product, "validation", teacher=None, final=True)

    assert not torch.equal(product.images, product.last)
    assert {"set_accuracy", "raw_accuracy", "unseen_accuracy", "raw_unseen_accuracy"} <= set(judged.metrics)
    alone = copy.deepcopy(product)
    with torch.no_grad():
        alone.images.copy_(product.last)
    swapped = digits().judge(alone, "validation", teacher=None, final=True).metrics
    assert swapped["set_accuracy"] == judged.metrics["raw_accuracy"]
    assert swapped["unseen_accuracy"] == judged.metrics["raw_unseen_accuracy"]


def test_the_mean_cosine_is_that_of_the_matched_experts():
    method = finished(new_matcher("ftd", {"held_out_seed": 7}))
    method.experts.cosines.copy_(torch.tensor([[0.9] * 3, [0.7] * 3, [0.0] * 3]))

    assert method.diagnostics().metrics["expert_cosine"] == pytest.approx(0.8)


def test_too_slow_an_average_and_too_large_a_radius_are_warned_of():
    slow = finished(new_matcher("ftd", {"ema_decay": 0.999}))
    slow.experts.cosines.fill_(0.3)

    warned = slow.warnings()

    assert "The averaged pictures have gone less than half of the way of those before averaging: ema_decay is too near 1." in warned
    assert warned[-1] == "Gradient and perturbed gradient have a mean cosine of 0.30: rho is too large."


def test_the_held_out_expert_and_the_sharpness_are_measured_by_default():
    settings = RunSpec.parse({"method": "ftd", "task": "digits"}).settings

    assert (settings["held_out_seed"], settings["flatness_epochs"], settings["ema_decay"]) == (9, [4, 7, 10], 0.99)


def test_a_radius_below_zero_is_refused():
    with pytest.raises(SpecError) as refused:
        RunSpec.parse({"method": "ftd", "task": "digits", "settings": {"rho": -0.1}})

    assert str(refused.value) == "settings.rho: must be at least 0; got -0.1."
