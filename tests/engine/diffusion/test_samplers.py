"""The integrators against the closed form of a Gaussian, and against each other."""

import pytest
import torch
from torch import Tensor

from engine.diffusion.samplers import ddim_step, euler, few_step, heun
from engine.diffusion.schedules import alpha_bar, karras_grid, sigma_of_alpha_bar

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


def test_ddim_without_noise_is_euler_in_the_rescaled_variables():
    bars = alpha_bar("linear")[torch.tensor([999, 700, 300, 50])]
    sigmas = sigma_of_alpha_bar(bars)
    x_edm = float(sigmas[0]) * start() / TOP
    x_vp = x_edm * bars[0].sqrt()
    none = torch.zeros_like(x_vp)

    for here, below in zip(range(4), [1, 2, 3, None], strict=True):
        alpha, sigma = bars[here].sqrt(), (1 - bars[here]).sqrt()
        clean = ideal(x_vp / alpha, sigmas[here].expand(7), None)
        eps = (x_vp - alpha * clean) / sigma
        to = (torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64))
        to = to if below is None else (bars[below].sqrt(), (1 - bars[below]).sqrt())
        x_vp = ddim_step(clean, eps, here=(alpha, sigma), below=to, eta=0.0, noise=none)

    assert torch.allclose(x_vp, euler(ideal, x_edm, sigmas, None), rtol=0, atol=1e-12)


def test_ddim_with_all_noise_has_the_variance_of_ancestral_sampling():
    bars = alpha_bar("linear")
    alpha, below = bars[500].sqrt(), bars[499].sqrt()
    sigma, sigma_below = (1 - bars[500]).sqrt(), (1 - bars[499]).sqrt()
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)

    noise_share = ddim_step(zero, zero, here=(alpha, sigma), below=(below, sigma_below), eta=1.0, noise=one)
    eps_share = ddim_step(zero, one, here=(alpha, sigma), below=(below, sigma_below), eta=1.0, noise=zero)

    beta = 1 - bars[500] / bars[499]
    assert float(noise_share) ** 2 == pytest.approx(float((1 - bars[499]) / (1 - bars[500]) * beta), rel=1e-9)
    assert float(noise_share) ** 2 + float(eps_share) ** 2 == pytest.approx(float(sigma_below) ** 2, rel=1e-12)


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
