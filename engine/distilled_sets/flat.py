"""Networks as functions of one vector of weights: theta (parameters,), in the order of `module.parameters()`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector

from engine.models.build import build

PIECE = 1024
"""Rows of one forward pass without a gradient."""


@dataclass(frozen=True)
class FlatNetwork:
    """A network's architecture. The weights that `module` itself has are never used, and never changed."""

    module: nn.Module
    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]

    @property
    def size(self) -> int:
        """How many numbers theta has."""
        return sum(shape.numel() for shape in self.shapes)

    @classmethod
    def of(cls, module: nn.Module) -> "FlatNetwork":
        """Raises ValueError for a module with buffers: the statistics of a batch norm are no function of its weights."""
        held = [name for name, _ in module.named_buffers()]
        if held:
            raise ValueError(f"{held[0]} is a buffer, and a trajectory holds weights only; choose a network without batch norm")
        named = list(module.named_parameters())
        return cls(module, tuple(name for name, _ in named), tuple(parameter.shape for _, parameter in named))

    def __call__(self, theta: Tensor, inputs: Tensor) -> Tensor:
        """Logits (batch, classes) of the network with the weights theta; differentiable in both arguments as often as its layers are."""
        pieces = theta.split([shape.numel() for shape in self.shapes])
        weights = {name: piece.view(shape) for name, shape, piece in zip(self.names, self.shapes, pieces, strict=True)}
        logits: Tensor = functional_call(self.module, weights, (inputs,))
        return logits

    @torch.no_grad()
    def logits(self, theta: Tensor, inputs: Tensor) -> Tensor:
        """(rows, classes) of many rows, piece by piece."""
        return torch.cat([self(theta, piece) for piece in inputs.split(PIECE)])


def fresh_weights(blueprint: Mapping[str, Any], seed: int, device: torch.device) -> Tensor:
    """theta of a new network of this builder and config, drawn as its layers do with torch's generator at `seed`. The generator is left as
    it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = build(blueprint["builder"], blueprint["config"])
    return parameters_to_vector(network.parameters()).detach().to(device)


def sgd_step(theta: Tensor, velocity: Tensor, gradient: Tensor, *, rate: float | Tensor, momentum: float, decay: float) -> None:
    """One step of SGD as torch.optim.SGD makes it, in place: v ← µ·v + g + λ·θ, θ ← θ − rate·v."""
    velocity.mul_(momentum).add_(gradient).add_(theta, alpha=decay)
    theta.sub_(rate * velocity)


def loss_gradient(loss_at: Callable[[Tensor], Tensor], theta: Tensor) -> tuple[Tensor, Tensor]:
    """The loss and its gradient (parameters,) at theta, both without a graph."""
    with torch.enable_grad():
        point = theta.detach().requires_grad_()
        loss = loss_at(point)
        (gradient,) = torch.autograd.grad(loss, point)
    return loss.detach(), gradient
