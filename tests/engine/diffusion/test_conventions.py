"""What is said in other papers' variables is the same thing inside: DDIM and DDPM of a variance-preserving process, Euler steps of a flow.

Written out with α and σ of x_t = α·x0 + σ·ε for each of them, in float64, beside the engine's samplers at x = x_t/α and σ/α.
"""

import math

import pytest
import torch
from torch import Tensor

from engine.diffusion.denoiser import guided
from engine.diffusion.matching import DiscriminatorHead, add_by_bin, drawn_indices, renoised
from engine.diffusion.samplers import euler, transition
from engine.diffusion.schedules import share_of_sigma, shifted, sigma_of_share

ROWS = 5


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape or (ROWS, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wavy(x: Tensor, sigma: Tensor, y: Tensor | None) -> Tensor:
    """No denoiser that was ever trained, and not linear: nothing cancels by chance."""
    shift = 0.0 if y is None else 0.3 * y[:, None].double()
    return torch.tanh(x / (1 + sigma[:, None])) + 0.1 * sigma[:, None].cos() + shift


def variance_preserving(steps: int) -> list[tuple[float, float]]:
    """α and σ at descending indices of the linear table of a thousand betas from 1e-4 to 0.02."""
    kept, table = 1.0, []
    for index in range(1000):
        kept *= 1 - (1e-4 + (0.02 - 1e-4) * index / 999)
        table.append((math.sqrt(kept), math.sqrt(1 - kept)))
    return [table[index * (1000 // steps) + 1] for index in reversed(range(steps))]


def test_euler_is_ddim_without_noise() -> None:
    """x_s = α_s·x̂0 + σ_s·ε̂, down to the clean example, from the same x_t."""
    levels = variance_preserving(7)
    x = drawn(0)
    start = x / levels[0][0]
    for (alpha, sigma), (alpha_to, sigma_to) in zip(levels, [*levels[1:], (1.0, 0.0)], strict=True):
        clean = wavy(x / alpha, torch.full((ROWS,), sigma / alpha, dtype=torch.float64), None)
        x = alpha_to * clean + sigma_to * (x - alpha * clean) / sigma

    made = euler(wavy, start, torch.tensor([sigma / alpha for alpha, sigma in levels], dtype=torch.float64), None)

    assert torch.allclose(made, x, rtol=0, atol=1e-11)


def test_the_ancestral_step_is_that_of_ddpm() -> None:
    """DDIM with η = 1: q = σ_s/σ_t·√(1 − α_t²/α_s²) of fresh noise, and √(σ_s² − q²) of what was there."""
    (alpha, sigma), (alpha_to, sigma_to) = variance_preserving(7)[2:4]
    x, clean = drawn(0), drawn(1)
    fresh = sigma_to / sigma * math.sqrt(1 - alpha**2 / alpha_to**2)
    expected = alpha_to * clean + math.sqrt(sigma_to**2 - fresh**2) * (x - alpha * clean) / sigma

    level, level_to = (torch.full((ROWS,), value, dtype=torch.float64) for value in (sigma / alpha, sigma_to / alpha_to))
    mean, std = transition("ancestral", x / alpha, clean, sigma=level, sigma_to=level_to)

    assert torch.allclose(alpha_to * mean, expected, rtol=0, atol=1e-12)
    assert torch.allclose(alpha_to * std, torch.full((ROWS,), fresh, dtype=torch.float64), rtol=1e-12)


def test_euler_is_that_of_a_rectified_flow() -> None:
    """x_t = (1 − t)·x0 + t·ε with u = ε − x0: x += (t' − t)·u, from t = 0.9 to 0."""
    shares = [0.9, 0.5, 0.2, 0.0]
    x = drawn(0)
    start = x / (1 - shares[0])
    for share, share_to in zip(shares, shares[1:], strict=False):
        clean = wavy(x / (1 - share), torch.full((ROWS,), share / (1 - share), dtype=torch.float64), None)
        x = x + (share_to - share) * ((x - (1 - share) * clean) / share - clean)

    made = euler(wavy, start, sigma_of_share(torch.tensor(shares[:-1], dtype=torch.float64)), None)

    assert torch.allclose(made, x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("first", [0.5, 1.0, 3.0])
def test_a_shift_multiplies_the_noise_level_so_that_two_of_them_are_their_product(first: float) -> None:
    share = torch.linspace(0, 0.99, 12, dtype=torch.float64)

    once = shifted(share, first)

    assert torch.allclose(sigma_of_share(once), first * sigma_of_share(share), rtol=1e-12, atol=0)
    assert torch.allclose(shifted(once, 1.7), shifted(share, 1.7 * first), rtol=1e-12, atol=0)
    assert torch.allclose(share_of_sigma(sigma_of_share(once)), once, rtol=1e-12, atol=0)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 4.0])
def test_guidance_of_predicted_noise_is_guidance_of_the_predicted_example(weight: float) -> None:
    x, sigma, y = drawn(0), torch.full((ROWS,), 1.3, dtype=torch.float64), torch.arange(ROWS)

    def noise(clean: Tensor) -> Tensor:
        return (x - clean) / 1.3

    of_noise = noise(wavy(x, sigma, None)) + weight * (noise(wavy(x, sigma, y)) - noise(wavy(x, sigma, None)))

    assert torch.allclose(noise(guided(wavy, weight)(x, sigma, y)), of_noise, rtol=1e-12)


# What is drawn and counted by level


@pytest.mark.parametrize(
    ("levels", "low", "high", "expected"),
    [
        (10, 0.0, 1.0, range(10)),
        (10, 0.2, 0.8, range(2, 9)),
        (10, 0.02, 0.98, range(10)),  # both ends round to those of the table
        (1, 0.0, 1.0, range(1)),
        (1, 0.02, 0.98, range(1)),
        (4, 0.5, 0.5, range(2, 3)),
    ],
)
def test_indices_of_a_small_table_are_all_drawn_alike_and_lie_in_it(levels: int, low: float, high: float, expected: range) -> None:
    drawn_ones = drawn_indices(5000, levels, low=low, high=high, generator=torch.Generator().manual_seed(0))

    counts = drawn_ones.bincount(minlength=levels)
    assert drawn_ones.unique().tolist() == list(expected)
    assert counts.max() < 1.3 * 5000 / len(expected)


def test_each_picture_gets_the_noise_of_its_own_level() -> None:
    x, noise = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)

    noised = renoised(x, torch.tensor([0.5, 20.0]), noise)

    assert noised.flatten(1).tolist() == [[0.5] * 4, [20.0] * 4]


def test_a_level_is_counted_in_the_bin_of_its_tenth_though_there_are_fewer_levels_than_bins() -> None:
    sums = add_by_bin(torch.zeros(2, 10), torch.tensor([1.0, 1.0, 1.0]), torch.tensor([0, 1, 3]), levels=4)

    assert sums[1].tolist() == [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("rows", [1, 3])
def test_a_discriminator_says_one_number_a_row_in_full_precision(rows: int) -> None:
    head = DiscriminatorHead(4)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(torch.randn(rows, 4))

    assert logits.shape == (rows,)
    assert logits.dtype == torch.float32
