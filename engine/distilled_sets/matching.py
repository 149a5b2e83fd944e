"""Trajectory matching: how far training on a synthetic set comes towards an expert's later weights, and the gradient of that.

Cazenavette et al. (2022), arXiv:2203.11932; the constant-memory gradient is that of TESLA: Cui et al. (2023), arXiv:2211.10586.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.distilled_sets.augmentation import Draw, apply, draw
from engine.distilled_sets.flat import FlatNetwork


@dataclass(frozen=True)
class InnerStep:
    """One step of the inner loop: the rows (chunk,) int64 of the set that it learns from (None for all), and how their pictures are changed."""

    rows: Tensor | None
    augmentation: Draw | None

    def batch(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Its pictures, not yet augmented, and their labels."""
        return (images, labels) if self.rows is None else (images[self.rows], labels[self.rows])


class Matched(NamedTuple):
    """One outer iteration: L, its gradients, and the cross-entropy of the inner loop's last step."""

    loss: Tensor
    images: Tensor
    rate: Tensor
    inner_loss: Tensor


def inner_plan(
    steps: int, *, rows: int, chunk: int | None, operations: Sequence[str], generator: torch.Generator, device: torch.device
) -> list[InnerStep]:
    """What the steps of one inner loop see. A permutation of the rows is cut into pieces of `chunk`, a new one when they are used up; without
    a chunk, or with one as large as the set, each step sees all rows. `generator` is on the CPU."""
    plan: list[InnerStep] = []
    pieces: list[Tensor] = []
    for _ in range(steps):
        chosen = None
        if chunk is not None and chunk < rows:
            if not pieces:
                pieces = list(torch.randperm(rows, generator=generator).to(device).split(chunk))
            chosen = pieces.pop(0)
        plan.append(InnerStep(chosen, draw(operations, rows if chosen is None else len(chosen), generator, device)))
    return plan


def distance(end: Tensor, *, start: Tensor, target: Tensor) -> Tensor:
    """L = ‖end − target‖² / ‖start − target‖². Undefined where the expert did not move."""
    return (end - target).square().sum() / (start - target).square().sum()


def inner_loss(network: FlatNetwork, theta: Tensor, images: Tensor, labels: Tensor, augmentation: Draw | None) -> Tensor:
    """Mean cross-entropy of a chunk; labels are classes (rows,) or distributions (rows, classes)."""
    return F.cross_entropy(network(theta, apply(images, augmentation)), labels)


def full_gradient(
    network: FlatNetwork, *, start: Tensor, target: Tensor, images: Tensor, labels: Tensor, rate: Tensor, plan: Sequence[InnerStep]
) -> Matched:
    """By back-propagation through all inner steps θ ← θ − rate·∇CE, in memory that grows with their number."""
    images, rate = images.detach().requires_grad_(), rate.detach().requires_grad_()
    theta = start.detach().requires_grad_()
    for step in plan:
        loss = inner_loss(network, theta, *step.batch(images, labels), step.augmentation)
        (gradient,) = torch.autograd.grad(loss, theta, create_graph=True)
        theta = theta - rate * gradient
    matched = distance(theta, start=start, target=target)
    of_images, of_rate = torch.autograd.grad(matched, (images, rate))
    return Matched(matched.detach(), of_images, of_rate, loss.detach())


def constant_memory_gradient(
    network: FlatNetwork, *, start: Tensor, target: Tensor, images: Tensor, labels: Tensor, rate: Tensor, plan: Sequence[InnerStep]
) -> Matched:
    """An approximation in memory that does not grow with the inner steps: the visited weights are taken for constants.

    With G = Σ_n g_n, L = ‖start − rate·G − target‖²/D. The first pass finds G and the visited weights; the second makes each g_n again, and
    adds the gradient of ⟨v, g_n⟩ with v = 2/D·(rate·(target − start) + rate²·G) held constant. Exact for one step only.
    """
    images, rate = images.detach(), rate.detach()
    theta, visited, total = start.detach(), [], torch.zeros_like(start)
    for step in plan:
        visited.append(theta)
        point = theta.detach().requires_grad_()
        loss = inner_loss(network, point, *step.batch(images, labels), step.augmentation)
        (gradient,) = torch.autograd.grad(loss, point)
        theta, total = theta - rate * gradient, total + gradient

    scale = (start - target).square().sum()
    of_rate = -2 * total.dot(start - rate * total - target) / scale
    pull = 2 / scale * (rate * (target - start) + rate.square() * total)
    of_images = torch.zeros_like(images)
    for at, step in zip(visited, plan, strict=True):
        chunk, chunk_labels = step.batch(images, labels)
        chunk, point = chunk.detach().requires_grad_(), at.detach().requires_grad_()
        again = inner_loss(network, point, chunk, chunk_labels, step.augmentation)
        (gradient,) = torch.autograd.grad(again, point, create_graph=True)
        (of_chunk,) = torch.autograd.grad(pull.dot(gradient), chunk)
        if step.rows is None:
            of_images += of_chunk
        else:
            of_images.index_add_(0, step.rows, of_chunk)
    return Matched(distance(theta, start=start, target=target), of_images, of_rate, loss.detach())


GRADIENTS = {"full": full_gradient, "constant_memory": constant_memory_gradient}


def trajectory_errors(
    network: FlatNetwork, trajectory: Tensor, images: Tensor, labels: Tensor, rate: Tensor, *, steps: int, epochs: int
) -> list[float]:
    """‖θ̂_t − θ*_t‖² / ‖θ*_0 − θ*_t‖² for t = M, 2M, … epochs of an expert, trajectory (epochs + 1, parameters), with θ̂ the network that
    began as the expert did and makes N = `steps` full-batch steps on the set for each M = `epochs` of the expert's.

    1 is a network that did not move towards the expert on balance. Accumulated error of Du et al. (2023), arXiv:2211.11004.
    """
    theta, errors = trajectory[0], []
    for at in range(epochs, len(trajectory), epochs):
        for _ in range(steps):
            with torch.enable_grad():
                point = theta.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(inner_loss(network, point, images, labels, None), point)
            theta = theta - rate * gradient
        errors.append(distance(theta, start=trajectory[0], target=trajectory[at]))
    return [float(error) for error in errors]
