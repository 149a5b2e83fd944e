"""Optimizers and the schedules of their learning rates, from settings."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn
from torch.amp import GradScaler
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

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


class LRSchedule(LambdaLR):
    """torch's LambdaLR, stepped once after each update, which counts in the optimizer's `param_groups`.

    A count of its own would be a second state that a checkpoint has to hold and to keep in step with the optimizer's. So the optimizer's
    state brings it back, under the name that it has in the checkpoints of all versions.
    """

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float]) -> None:
        super().__init__(optimizer, factor)
        optimizer.register_load_state_dict_post_hook(lambda loaded: self._set_rates())

    @property
    def last_epoch(self) -> int:
        """How many updates were made: what LambdaLR hands to the factor of the next one."""
        updates: int = self.optimizer.param_groups[0].get("updates", 0)
        return updates

    @last_epoch.setter
    def last_epoch(self, updates: int) -> None:
        self.optimizer.param_groups[0]["updates"] = updates

    def step(self, epoch: int | None = None) -> None:
        """Once after each update. The same numbers as LambdaLR's own, whose checks took a tenth of the smallest network's step."""
        self.last_epoch += 1
        self._set_rates()

    @property
    def newest_rate(self) -> float:
        """The learning rate of the newest update; before the first one, of that."""
        return self._rate(0, max(0, self.last_epoch - 1))

    def _set_rates(self) -> None:
        """The rates of the next update: checkpoints of earlier versions hold those of the one before."""
        for index, group in enumerate(self.optimizer.param_groups):
            group["lr"] = self._rate(index, self.last_epoch)

    def _rate(self, group: int, updates: int) -> float:
        return float(self.base_lrs[group] * self.lr_lambdas[group](updates))


@dataclass(frozen=True)
class ScheduledOptimizer:
    """An optimizer with its schedule, the largest norm of its gradient, the parameters that it trains, and float16's loss scaler."""

    optimizer: Optimizer
    schedule: LRSchedule
    clip: float | None
    parameters: list[nn.Parameter]
    scaler: GradScaler | None

    def step(self) -> None:
        """One update from the gradients at hand, which are gone afterwards."""
        if self.clip is not None:
            if self.scaler is not None:
                self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        if self.scaler is not None:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()
        self.schedule.step()  # also after an update that the scaler left out because its gradients overflowed
        self.optimizer.zero_grad(set_to_none=True)


def lr_schedule_of(optimizer: Optimizer, settings: OptimizerSettings, *, steps: int, steps_per_epoch: int) -> LRSchedule:
    """The schedule that the settings name, over `steps` updates: constant; cosine lr·½(1 + cos(πt/T)), by step or constant inside each
    epoch; step: ×0.1 at 62.5, 75 and 87.5 %; step-50-75: ×0.1 at 50 and 75 %; linear-tail: constant, and in the last 30 % a line to 0."""

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
        "linear-tail": lambda update: max(0.0, min(1.0, (1 - update / steps) / 0.3)),
    }
    return LRSchedule(optimizer, factors[settings.schedule])
