"""Steps of the experts: SGD, SAM, ASAM and GSAM, and how sharp a loss is."""

import math

import pytest
import torch
import torch.nn.functional as F

from engine.distilled_sets.experts import flat_gradient, loss_rise, perturbation, plain_gradient, surrogate_direction
from tests.engine.distilled_sets.small import network, numbers, pictures, weights


def loss_of(seed: int = 0):
    inputs, labels = pictures(9, seed)
    flat = network()
    return lambda theta: F.cross_entropy(flat(theta, inputs), labels)


def test_the_adaptive_perturbation_has_norm_rho_after_division_by_the_weights():
    theta, gradient = weights(1), numbers(len(weights(1)), seed=2)
    theta[3] = 0.0

    e = perturbation(theta, gradient, rho=0.7, adaptive=True)

    moved = theta != 0
    assert (e[moved] / theta[moved].abs()).norm().item() == pytest.approx(0.7, abs=1e-9)
    assert e[3] == 0


def test_the_plain_perturbation_has_norm_rho_over_all_parameters_and_points_along_the_gradient():
    theta, gradient = weights(1), numbers(len(weights(1)), seed=2)

    e = perturbation(theta, gradient, rho=0.7, adaptive=False)

    assert e.norm().item() == pytest.approx(0.7, abs=1e-9)
    assert F.cosine_similarity(e, gradient, dim=0).item() == pytest.approx(1.0, abs=1e-12)


def test_the_adaptive_perturbation_is_relative_to_weights_that_are_scaled_without_changing_the_function():
    # θ → cθ with the same function has the gradient g/c.
    theta, gradient, c = weights(1), numbers(len(weights(1)), seed=2), torch.rand(len(weights(1)), dtype=torch.float64) + 0.5

    before = perturbation(theta, gradient, rho=0.3, adaptive=True) / theta
    after = perturbation(c * theta, gradient / c, rho=0.3, adaptive=True) / (c * theta)

    assert torch.allclose(before, after, atol=1e-12)


def test_what_is_taken_away_is_orthogonal_to_the_perturbed_gradient():
    g, g_p = numbers(40, seed=1), numbers(40, seed=2)

    direction, cosine = surrogate_direction(g, g_p, alpha=0.4)

    v = (g_p - direction) / 0.4
    assert v.dot(g_p).item() == pytest.approx(0.0, abs=1e-9)
    assert direction.dot(g_p).item() == pytest.approx(g_p.square().sum().item(), rel=1e-9)
    assert torch.allclose(v, g - g_p * g.dot(g_p) / g_p.square().sum(), atol=1e-10)
    assert cosine.item() == pytest.approx(F.cosine_similarity(g, g_p, dim=0).item(), abs=1e-9)


def test_without_alpha_the_direction_is_the_perturbed_gradient():
    g, g_p = numbers(40, seed=1), numbers(40, seed=2)

    assert torch.equal(surrogate_direction(g, g_p, alpha=0.0)[0], g_p)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_without_a_radius_the_step_is_that_of_sgd(alpha):
    theta, loss_at = weights(1), loss_of()

    flat = flat_gradient(loss_at, theta, rho=0.0, alpha=alpha, adaptive=True)
    plain = plain_gradient(loss_at, theta)

    assert torch.allclose(flat.direction, plain.direction, atol=1e-10)
    assert flat.loss == plain.loss and flat.rise == 0
    assert flat.cosine.item() == pytest.approx(1.0, abs=1e-9)


def test_the_whole_step_is_that_of_the_slow_version_and_leaves_the_weights():
    theta, loss_at = weights(1), loss_of()
    before = theta.clone()

    found = flat_gradient(loss_at, theta, rho=0.5, alpha=0.4, adaptive=True)

    def gradient(at):
        point = at.clone().requires_grad_()
        return torch.autograd.grad(loss_at(point), point)[0]

    g = gradient(theta)
    e = torch.stack([0.5 * t * t * x for t, x in zip(theta, g, strict=True)]) / math.sqrt(
        sum((abs(float(t)) * float(x)) ** 2 for t, x in zip(theta, g, strict=True))
    )
    g_p = gradient(theta + e)
    v = g - (g @ g_p) / (g_p @ g_p) * g_p
    assert torch.allclose(found.direction, g_p - 0.4 * v, atol=1e-10)
    assert found.rise.item() == pytest.approx((loss_at(theta + e) - loss_at(theta)).item(), abs=1e-10)
    assert torch.equal(theta, before)


def test_the_rise_is_measured_at_a_relative_radius_along_directions_scaled_by_the_weights():
    flat, theta = network(), weights(1)
    inputs, labels = pictures(9)
    directions = numbers(4, len(theta), seed=5)

    loss, mean, largest = loss_rise(flat, theta, inputs, labels, directions=directions, radius=0.2).tolist()

    rises = []
    for z in directions:
        u = z * theta.abs()
        u = u / u.norm()
        moved = theta + 0.2 * theta.norm() * u
        assert (moved - theta).norm().item() == pytest.approx(0.2 * theta.norm().item())
        rises.append(F.cross_entropy(flat(moved, inputs), labels).item() - loss)
    assert loss == pytest.approx(F.cross_entropy(flat(theta, inputs), labels).item())
    assert mean == pytest.approx(sum(rises) / 4) and largest == pytest.approx(max(rises))


def test_a_loss_that_is_flat_everywhere_does_not_rise():
    flat, theta = network(), torch.zeros(len(weights(0)), dtype=torch.float64)
    theta[0] = 1.0  # the second layer is all zeros, and so are the logits along directions scaled by the weights

    _, mean, largest = loss_rise(flat, theta, *pictures(9), directions=numbers(4, len(theta)), radius=0.2).tolist()

    assert mean == largest == 0
