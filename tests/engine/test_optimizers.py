"""Optimizers from settings: the update rules, written out in float64, and the norm to which a gradient is cut."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from engine.optimizers import ScheduledOptimizer, lr_schedule_of, new_optimizer
from engine.spec.cards import OptimizerSettings

GRADIENTS = [0.5, -0.25, 2.0, 0.0]
START, RATE = 1.5, 0.1


def weight() -> nn.Parameter:
    return nn.Parameter(torch.tensor([START], dtype=torch.float64))


def updated(**settings: Any) -> list[float]:
    """A weight after each of the updates with GRADIENTS."""
    parameter = weight()
    optimizer = new_optimizer([parameter], OptimizerSettings(learning_rate=RATE, **settings))
    found = []
    for gradient in GRADIENTS:
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        found.append(parameter.item())
    return found


def by_sgd(momentum: float, decay: float, *, nesterov: bool) -> list[float]:
    """v ← momentum·v + g, w ← w − lr·v, or with Nesterov w − lr·(g + momentum·v); the decay is part of the gradient."""
    w, v, found = START, 0.0, []
    for gradient in GRADIENTS:
        g = gradient + decay * w
        v = momentum * v + g
        w -= RATE * (g + momentum * v if nesterov else v)
        found.append(w)
    return found


def by_adam(beta: float, decay: float, *, decoupled: bool) -> list[float]:
    """Kingma & Ba (2015), algorithm 1, with β₂ = 0.999 and ε = 1e-8; decoupled as in Loshchilov & Hutter (2019)."""
    w, m, v, found = START, 0.0, 0.0, []
    for step, gradient in enumerate(GRADIENTS, start=1):
        g = gradient if decoupled else gradient + decay * w
        w -= RATE * decay * w if decoupled else 0
        m, v = beta * m + (1 - beta) * g, 0.999 * v + 0.001 * g * g
        w -= RATE * (m / (1 - beta**step)) / (math.sqrt(v / (1 - 0.999**step)) + 1e-8)
        found.append(w)
    return found


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.5, True)])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_sgd_has_momentum_and_the_decay_in_its_gradient(momentum: float, nesterov: bool, decay: float) -> None:
    found = updated(optimizer="sgd", momentum=momentum, nesterov=nesterov, weight_decay=decay)

    assert found == pytest.approx(by_sgd(momentum, decay, nesterov=nesterov), rel=1e-9)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize(("momentum", "decay"), [(0.9, 0.0), (0.5, 0.3)])
def test_adam_takes_the_momentum_as_its_first_beta_and_only_adamw_decouples_the_decay(
    optimizer: str, momentum: float, decay: float
) -> None:
    found = updated(optimizer=optimizer, momentum=momentum, weight_decay=decay)

    assert found == pytest.approx(by_adam(momentum, decay, decoupled=optimizer == "adamw"), rel=1e-9)


def test_without_a_setting_nothing_is_decayed() -> None:
    """PyTorch's AdamW decays by 0.01 where nothing is said, and the specification of the digits protocol by nothing."""
    parameter = weight()
    optimizer = new_optimizer([parameter], OptimizerSettings())

    parameter.grad = torch.zeros(1, dtype=torch.float64)
    optimizer.step()

    assert parameter.item() == START


def scheduled(clip: float | None, *parameters: nn.Parameter, schedule: str = "constant", steps: int = 4) -> ScheduledOptimizer:
    settings = OptimizerSettings.model_validate(
        {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0, "schedule": schedule, "gradient_clip": clip}
    )
    optimizer = new_optimizer(list(parameters), settings)
    rates = lr_schedule_of(optimizer, settings, steps=steps, steps_per_epoch=2)
    return ScheduledOptimizer(optimizer, rates, clip, list(parameters), None)


@pytest.mark.parametrize(("clip", "share"), [(None, 1.0), (100.0, 1.0), (1.0, 0.2), (2.5, 0.5)])
def test_the_norm_that_is_cut_is_that_of_all_parameters_together(clip: float | None, share: float) -> None:
    first, second = weight(), weight()
    one = scheduled(clip, first, second)
    first.grad, second.grad = torch.tensor([3.0], dtype=torch.float64), torch.tensor([-4.0], dtype=torch.float64)  # of norm 5

    one.step()

    assert [first.item(), second.item()] == pytest.approx([START - 3 * share, START + 4 * share], abs=1e-5)


def test_after_a_step_its_gradients_are_gone_and_the_next_rate_is_set() -> None:
    parameter = weight()
    one = scheduled(None, parameter, schedule="step-50-75")
    rates = []

    for _ in range(5):
        parameter.grad = torch.ones(1, dtype=torch.float64)
        one.step()
        rates.append(one.schedule.newest_rate)

    assert parameter.grad is None
    assert rates == pytest.approx([1, 1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    ("schedule", "beyond"), [("constant", 1.0), ("cosine", 0.0), ("cosine-per-epoch", 0.0), ("step", 1e-3), ("linear-tail", 0.0)]
)
def test_a_schedule_that_has_ended_stays_where_it_ended(schedule: str, beyond: float) -> None:
    """A run ends before; an optimizer with a shorter schedule of its own may go on."""
    parameter = weight()
    one = scheduled(None, parameter, schedule=schedule, steps=4)

    for _ in range(7):
        parameter.grad = torch.ones(1, dtype=torch.float64)
        one.step()

    assert one.schedule.newest_rate == pytest.approx(beyond, abs=1e-9)


def test_epochs_of_a_schedule_count_the_last_partial_one() -> None:
    """Five updates in epochs of two are three epochs: ½(1 + cos(πe/3)) in the e-th."""
    parameter = weight()
    settings = OptimizerSettings(optimizer="sgd", learning_rate=1.0, schedule="cosine-per-epoch")
    optimizer = new_optimizer([parameter], settings)
    rates = lr_schedule_of(optimizer, settings, steps=5, steps_per_epoch=2)

    found = [rates.lr_lambdas[0](update) for update in range(5)]

    assert found == pytest.approx([1, 1, 0.75, 0.75, 0.25])
