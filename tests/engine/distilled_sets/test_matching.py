"""The outer loss and its two gradients, against slow versions, differences and each other."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.distilled_sets.augmentation import Draw
from engine.distilled_sets.matching import (
    GRADIENTS,
    InnerStep,
    Matched,
    constant_memory_gradient,
    distance,
    full_gradient,
    inner_plan,
    trajectory_errors,
)
from tests.engine.distilled_sets.small import CLASSES, everything, network, pictures, weights

CPU = torch.device("cpu")
RATE = torch.tensor(0.3, dtype=torch.float64)


def matched(
    gradient, *, steps: int = 3, rate: Tensor = RATE, images: Tensor | None = None, labels: Tensor | None = None, plan=None
) -> Matched:
    """From weights 1 to weights 2 on four pictures."""
    own, classes = pictures(4)
    return gradient(
        network(),
        start=weights(1),
        target=weights(2),
        images=own if images is None else images,
        labels=classes if labels is None else labels,
        rate=rate,
        plan=plan or everything(steps),
    )


def by_hand(images: Tensor, rate: float, steps: int, labels: Tensor) -> float:
    """L with the steps of torch's own SGD on a module."""
    flat, theta, target = network(), weights(1), weights(2)
    for _ in range(steps):
        point = theta.clone().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(flat(point, images), labels), point)
        theta = theta - rate * g
    return (((theta - target) ** 2).sum() / ((weights(1) - target) ** 2).sum()).item()


def test_the_distance_is_one_at_the_start_and_zero_at_the_target():
    start, target = weights(1), weights(2)

    assert distance(start, start=start, target=target) == 1
    assert distance(target, start=start, target=target) == 0
    assert distance(start + 3 * (target - start), start=start, target=target) == pytest.approx(4)


def test_the_distance_does_not_see_the_scale_of_the_weights():
    start, target, end = weights(1), weights(2), weights(3)

    scaled = distance(start + 5 * (end - start), start=start, target=start + 5 * (target - start))

    assert scaled == pytest.approx(distance(end, start=start, target=target).item(), rel=1e-12)


@pytest.mark.parametrize("gradient", GRADIENTS.values(), ids=GRADIENTS)
@pytest.mark.parametrize("steps", [1, 3, 6])
def test_both_gradients_find_the_same_loss_that_is_that_of_the_slow_version(gradient, steps):
    images, labels = pictures(4)

    found = matched(gradient, steps=steps)

    assert found.loss.item() == pytest.approx(by_hand(images, 0.3, steps, labels), rel=1e-12)


def test_the_full_gradient_is_that_of_finite_differences():
    images, labels = pictures(4)
    found = matched(full_gradient, steps=3)
    step = 1e-6

    def slope(up: Tensor, down: Tensor) -> float:
        return (by_hand(up, 0.3, 3, labels) - by_hand(down, 0.3, 3, labels)) / (2 * step)

    for at in [(0, 0, 0, 0), (1, 0, 1, 2), (3, 0, 0, 1)]:
        nudge = torch.zeros_like(images)
        nudge[at] = step
        assert found.images[at].item() == pytest.approx(slope(images + nudge, images - nudge), rel=1e-5)
    of_rate = (by_hand(images, 0.3 + step, 3, labels) - by_hand(images, 0.3 - step, 3, labels)) / (2 * step)
    assert found.rate.item() == pytest.approx(of_rate, rel=1e-6)


def test_for_one_step_the_constant_memory_gradient_is_exact():
    full, constant = matched(full_gradient, steps=1), matched(constant_memory_gradient, steps=1)

    assert torch.allclose(full.images, constant.images, atol=1e-10, rtol=0)
    assert torch.allclose(full.rate, constant.rate, atol=1e-10, rtol=0)


def test_for_several_steps_the_constant_memory_gradient_is_another_one():
    full, constant = matched(full_gradient, steps=6), matched(constant_memory_gradient, steps=6)

    assert (full.images - constant.images).abs().max() > 0.02 * full.images.abs().max()
    assert F.cosine_similarity(full.images.flatten(), constant.images.flatten(), dim=0) > 0


@pytest.mark.parametrize("gradient", GRADIENTS.values(), ids=GRADIENTS)
def test_without_a_rate_nothing_is_gained_and_nothing_reaches_the_pictures(gradient):
    found = matched(gradient, rate=torch.tensor(0.0, dtype=torch.float64))

    assert found.loss == 1
    assert found.images.abs().max() == 0
    assert found.rate != 0


@pytest.mark.parametrize("gradient", GRADIENTS.values(), ids=GRADIENTS)
def test_the_order_of_the_pictures_is_of_no_matter_when_each_step_sees_all(gradient):
    images, labels = pictures(4)
    order = torch.tensor([2, 0, 3, 1])

    one, other = matched(gradient), matched(gradient, images=images[order], labels=labels[order])

    assert one.loss.item() == pytest.approx(other.loss.item(), rel=1e-12)
    assert torch.allclose(one.images[order], other.images, atol=1e-12)


def test_a_set_that_is_the_real_rows_follows_the_expert_exactly():
    images, labels = pictures(6)
    flat, theta = network(), weights(1)
    plan = [InnerStep(torch.tensor(rows), None) for rows in ([0, 1, 2], [3, 4, 5], [1, 3, 5])]
    for step in plan:
        point = theta.clone().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(flat(point, images[step.rows]), labels[step.rows]), point)
        theta = theta - 0.3 * g

    found = full_gradient(flat, start=weights(1), target=theta, images=images, labels=labels, rate=RATE, plan=plan)

    assert found.loss.item() == pytest.approx(0, abs=1e-24)


@pytest.mark.parametrize("gradient", GRADIENTS.values(), ids=GRADIENTS)
def test_a_chunk_that_several_steps_use_gets_the_sum_and_one_that_none_uses_gets_nothing(gradient):
    first = InnerStep(torch.tensor([0, 2]), None)

    found = matched(gradient, plan=[first, first])

    assert found.images[[1, 3]].abs().max() == 0
    assert found.images[[0, 2]].abs().max() > 0


def test_both_passes_of_the_constant_memory_gradient_see_the_same_augmentation():
    plan = [InnerStep(None, Draw("flip", torch.tensor([[0.1, 0, 0]] * 4, dtype=torch.float64)))]
    flipped, labels = pictures(4)

    found = matched(constant_memory_gradient, plan=plan)
    plain = matched(constant_memory_gradient, steps=1, images=flipped.flip(3), labels=labels)

    assert found.loss == plain.loss
    assert torch.allclose(found.images, plain.images.flip(3), atol=1e-14)


@pytest.mark.parametrize("gradient", GRADIENTS.values(), ids=GRADIENTS)
def test_certain_soft_labels_are_hard_ones(gradient):
    _, labels = pictures(4)

    hard, soft = matched(gradient), matched(gradient, labels=F.one_hot(labels, CLASSES).double())

    assert soft.loss.item() == pytest.approx(hard.loss.item(), rel=1e-12)
    assert torch.allclose(soft.images, hard.images, atol=1e-12)


@pytest.mark.parametrize("gradient", GRADIENTS.values(), ids=GRADIENTS)
def test_what_comes_out_carries_no_graph(gradient):
    assert not any(each.requires_grad for each in matched(gradient))


def test_a_permutation_is_cut_into_chunks_and_drawn_anew_when_they_are_used_up():
    plan = inner_plan(5, rows=6, chunk=4, operations=(), generator=torch.Generator().manual_seed(0), device=CPU)

    sizes = [len(step.rows) for step in plan]
    assert sizes == [4, 2, 4, 2, 4]
    assert sorted(torch.cat([plan[0].rows, plan[1].rows]).tolist()) == list(range(6))
    assert plan[0].rows.tolist() != plan[2].rows.tolist()


@pytest.mark.parametrize("chunk", [None, 6, 7])
def test_a_chunk_as_large_as_the_set_is_the_set(chunk):
    generator = torch.Generator().manual_seed(0)

    plan = inner_plan(3, rows=6, chunk=chunk, operations=["crop"], generator=generator, device=CPU)

    assert all(step.rows is None and step.augmentation.numbers.shape == (6, 3) for step in plan)


def test_the_accumulated_error_begins_at_the_experts_start_and_goes_on_from_itself():
    flat, (images, labels) = network(), pictures(4)
    trajectory = torch.stack([weights(1), weights(2), weights(3), weights(4), weights(5)])

    errors = trajectory_errors(flat, trajectory, images, labels, RATE, steps=3, epochs=2)

    theta, expected = weights(1), []
    for at in (2, 4):
        for _ in range(3):
            point = theta.clone().requires_grad_()
            (g,) = torch.autograd.grad(F.cross_entropy(flat(point, images), labels), point)
            theta = theta - 0.3 * g
        expected.append(((theta - trajectory[at]).square().sum() / (trajectory[0] - trajectory[at]).square().sum()).item())
    assert errors == pytest.approx(expected, rel=1e-12)
