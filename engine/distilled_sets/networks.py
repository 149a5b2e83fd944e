"""Fresh networks, trained on a set alone by its recipe: the witnesses of what a set is worth."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.distilled_sets.augmentation import apply, draw
from engine.distilled_sets.flat import FlatNetwork, loss_gradient, sgd_step
from engine.models.set_configs import TrainingRecipe
from engine.seeds import derived_seed

MOMENTUM, DECAY, DROP = 0.9, 5e-4, 0.1


def trained_on(
    network: FlatNetwork, theta: Tensor, images: Tensor, labels: Tensor, *, recipe: TrainingRecipe, rate: float | Tensor, seed: int
) -> Tensor:
    """The weights (parameters,) that `network` has after the recipe's steps, from theta, on images (rows, …) with labels (rows,) or
    (rows, classes). `rate` stands in for the recipe's. `seed` is that of the order of the rows and of the augmentation."""
    theta, velocity = theta.clone(), torch.zeros_like(theta)
    generator = torch.Generator().manual_seed(derived_seed(seed, "witness"))
    order: list[Tensor] = []
    for step in range(recipe.steps):
        inputs, targets = images, labels
        if len(images) > recipe.batch_size:
            if not order:
                order = list(torch.randperm(len(images), generator=generator).to(images.device).split(recipe.batch_size))
            rows = order.pop(0)
            inputs, targets = images[rows], labels[rows]
        inputs = apply(inputs, draw(recipe.augmentation, len(inputs), generator, images.device))
        _, gradient = loss_gradient(partial(_loss, network, inputs, targets), theta)
        sgd_step(theta, velocity, gradient, rate=rate if step < recipe.steps // 2 else DROP * rate, momentum=MOMENTUM, decay=DECAY)
    return theta


def _loss(network: FlatNetwork, inputs: Tensor, targets: Tensor, theta: Tensor) -> Tensor:
    return F.cross_entropy(network(theta, inputs), targets)
