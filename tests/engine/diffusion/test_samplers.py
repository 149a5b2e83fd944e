"""The integrators against the closed form of a Gaussian, and against each other."""

import math

import pytest
import torch
from torch import Tensor

from engine.diffusion.samplers import ancestral, euler, few_step, heun, renoise, states
from engine.diffusion.schedules import karras_grid

M, V, TOP = 0.7, 0.3, 20.0


def ideal(x: Tensor, sigma: Tensor, y: Tensor | None) -> Tensor:
    noise = sigma[:, None] ** 2
    return (V * x + noise * M) / (V + noise)


def start(seed: int = 0) -> Tensor:
    return TOP * torch.randn(7, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def closed_form(x: Tensor) -> Tensor:
    """Where the probability flow of N(M, V) leads from σ = TOP to 0."""
    return M + (V / (V + TOP**2)) ** 0.5 * (x - M)


def error(sampler, steps: int) -> float:
    return float((sampler(ideal, start(), karras_grid(steps, 0.002, TOP), None) - closed_form(start())).abs().max())


def test_heun_converges_to_the_closed_form_with_second_order():
    errors = [error(heun, steps) for steps in (20, 40, 80)]

    assert errors[-1] < 3e-3
    assert errors[0] / errors[1] > 3.3
    assert errors[1] / errors[2] > 3.3


def test_euler_converges_with_first_order():
    errors = [error(euler, steps) for steps in (40, 80, 160)]

    assert errors[-1] < 0.05
    assert 1.7 < errors[0] / errors[1] < 2.3
    assert 1.7 < errors[1] / errors[2] < 2.3


@pytest.mark.parametrize(("sampler", "calls"), [(heun, 9), (euler, 5)])
def test_the_number_of_evaluations(sampler, calls):
    seen = []

    sampler(lambda x, sigma, y: seen.append(float(sigma[0])) or ideal(x, sigma, y), start(), karras_grid(5, 0.02, TOP), None)

    assert len(seen) == calls
    assert min(seen) == pytest.approx(0.02)


def test_heun_keeps_its_state_in_float64_and_answers_in_the_dtype_that_it_was_given():
    seen = []

    result = heun(lambda x, sigma, y: seen.append(x.dtype) or ideal(x, sigma, y), start().float(), karras_grid(5, 0.02, TOP), None)

    assert result.dtype == torch.float32
    assert set(seen) == {torch.float32}


# From level to level

SIGMA = torch.tensor([0.5, 1.0, 2.0, 4.0, 8.0], dtype=torch.float64)
SIGMA_TO = SIGMA * torch.tensor([0.9, 0.5, 0.1, 0.99, 0.3], dtype=torch.float64)


def normal(seed: int) -> Tensor:
    return torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_renoising_goes_to_the_predicted_sample_plus_noise_of_the_next_level():
    mean, std = renoise(normal(0), sigma_to=SIGMA_TO)

    assert torch.equal(mean, normal(0))
    assert torch.equal(std, SIGMA_TO)


def test_the_ancestral_step_splits_the_next_level_into_a_step_down_and_fresh_noise():
    x, x0 = normal(0), normal(1)
    mean, up = ancestral(x, x0, sigma=SIGMA, sigma_to=SIGMA_TO)

    for row in range(5):
        sigma, to = float(SIGMA[row]), float(SIGMA_TO[row])
        sigma_up = math.sqrt(to**2 * (sigma**2 - to**2) / sigma**2)
        sigma_down = math.sqrt(to**2 - sigma_up**2)
        assert float(up[row]) == pytest.approx(sigma_up, rel=1e-12)
        assert sigma_up**2 + sigma_down**2 == pytest.approx(to**2, rel=1e-12)
        assert torch.allclose(mean[row], x[row] + (x[row] - x0[row]) / sigma * (sigma_down - sigma), atol=1e-12)


def test_a_perfect_ancestral_step_leaves_noise_of_the_next_level():
    """For x = x₀ + σ·z the step down leaves σ_down of that noise: with σ_up of fresh noise, variances add up to σ_to²."""
    x0, z = normal(1), normal(2)
    mean, up = ancestral(x0 + SIGMA.view(-1, 1, 1) * z, x0, sigma=SIGMA, sigma_to=SIGMA_TO)

    left = ((mean - x0) / z).mean(dim=(1, 2))
    assert torch.allclose(left**2 + up**2, SIGMA_TO**2, atol=1e-12)


def test_one_step_is_one_call_at_the_highest_level():
    noise = start() / TOP

    made = few_step(ideal, noise, [TOP], None)

    assert torch.equal(made, ideal(TOP * noise, torch.full((7,), TOP, dtype=torch.float64), None))


def test_between_levels_fresh_noise_of_the_next_one_is_added():
    noise, generator = start() / TOP, torch.Generator().manual_seed(5)
    again = torch.Generator().manual_seed(5)

    made = few_step(ideal, noise, [TOP, 1.0], None, generator)

    first = ideal(TOP * noise, torch.full((7,), TOP, dtype=torch.float64), None)
    given = first + torch.randn(7, 3, generator=again, dtype=torch.float64)
    assert torch.allclose(made, ideal(given, torch.ones(7, dtype=torch.float64), None), atol=1e-14)


def test_states_are_made_as_they_are_asked_for_and_the_last_prediction_is_the_sample():
    calls = []

    def denoise(x: Tensor, sigma: Tensor, y: Tensor | None) -> Tensor:
        calls.append(float(sigma[0]))
        return ideal(x, sigma, y)

    noise, levels = start() / TOP, [TOP, 3.0, 1.0]
    visited = states(denoise, noise, levels, None, torch.Generator().manual_seed(5))

    assert torch.equal(next(visited), TOP * noise)
    assert calls == []
    *_, last = visited
    assert calls == [TOP, 3.0]
    made = few_step(ideal, noise, levels, None, torch.Generator().manual_seed(5))
    assert torch.equal(made, ideal(last, torch.ones(7, dtype=torch.float64), None))


def test_an_ancestral_sampler_keeps_what_an_euler_step_leaves_of_the_noise():
    noise, generator = start() / TOP, torch.Generator().manual_seed(5)
    again = torch.Generator().manual_seed(5)

    made = few_step(ideal, noise, [TOP, 1.0], None, generator, kind="ancestral")

    level, to = torch.full((7,), TOP, dtype=torch.float64), torch.ones(7, dtype=torch.float64)
    mean, std = ancestral(TOP * noise, ideal(TOP * noise, level, None), sigma=level, sigma_to=to)
    given = mean + std[:, None] * torch.randn(7, 3, generator=again, dtype=torch.float64)
    assert torch.allclose(made, ideal(given, to, None), atol=1e-14)
    assert not torch.allclose(made, few_step(ideal, noise, [TOP, 1.0], None, torch.Generator().manual_seed(5)), atol=1e-3)
