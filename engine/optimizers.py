"""Optimizers and the course of their learning rates, from settings."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn
from torch.amp import GradScaler
from torch.optim import SGD, Adam, AdamW, Optimizer

from engine.spec.cards import OptimizerSettings


def new_optimizer(parameters: list[nn.Parameter], settings: OptimizerSettings) -> Optimizer:
    """The update rule that the settings name, over all parameters alike (biases are decayed too).

    Fused: one kernel for all parameters, so that a small network's step is not mostly the calls of its optimizer.
    """
    lr, decay = settings.learning_rate, settings.weight_decay
    match settings.optimizer:
        case "sgd":
            return SGD(parameters, lr=lr, momentum=settings.momentum, nesterov=settings.nesterov, weight_decay=decay, fused=True)
        case "adam":
            return Adam(parameters, lr=lr, betas=(settings.momentum, 0.999), weight_decay=decay, fused=True)
        case "adamw":
            return AdamW(parameters, lr=lr, betas=(settings.momentum, 0.999), weight_decay=decay, fused=True)


@dataclass(frozen=True)
class LRSchedule:
    """The learning rate as a function of the update's number, from 0. The number is kept in the optimizer's state, so a checkpoint holds it."""

    base: float
    factor: Callable[[int], float]

    def apply(self, optimizer: Optimizer) -> None:
        """Sets the rate of the update about to be made, and counts it."""
        group = optimizer.param_groups[0]
        done = group.get("updates", 0)
        rate = self.base * self.factor(done)
        for each in optimizer.param_groups:
            each["lr"] = rate
        group["updates"] = done + 1


@dataclass(frozen=True)
class Drive:
    """What moves one optimizer: the course of its rate, the largest norm of its gradient, its parameters, and float16's loss scaler."""

    course: LRSchedule
    clip: float | None
    parameters: list[nn.Parameter]
    scaler: GradScaler | None

    def step(self, optimizer: Optimizer) -> None:
        """One update from the gradients at hand, which are gone afterwards."""
        if self.clip is not None:
            if self.scaler is not None:
                self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.course.apply(optimizer)
        if self.scaler is not None:
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def lr_schedule_of(settings: OptimizerSettings, *, steps: int, steps_per_epoch: int) -> LRSchedule:
    """Schedules over `steps` updates: constant; cosine lr·½(1 + cos(πt/T)), by step or constant inside each epoch; step: ×0.1 at
    62.5, 75 and 87.5 %; step-50-75: ×0.1 at 50 and 75 %; linear-tail: constant, and in the last 30 % a line to 0."""

    def cosine(update: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * min(update, steps) / steps))

    def cosine_per_epoch(update: int) -> float:
        epochs = max(1, -(-steps // steps_per_epoch))
        return 0.5 * (1 + math.cos(math.pi * min(update // steps_per_epoch, epochs) / epochs))

    def drops(*shares: float) -> Callable[[int], float]:
        return lambda update: 0.1 ** sum(update >= share * steps for share in shares)

    factors: dict[str, Callable[[int], float]] = {
        "constant": lambda update: 1.0,
        "cosine": cosine,
        "cosine-per-epoch": cosine_per_epoch,
        "step": drops(0.625, 0.75, 0.875),
        "step-50-75": drops(0.5, 0.75),
        "linear-tail": lambda update: min(1.0, (1 - update / steps) / 0.3),
    }
    return LRSchedule(settings.learning_rate, factors[settings.schedule])
