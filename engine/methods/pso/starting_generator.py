"""The starting model of the small experiment: a two-moons denoiser made consistent in time segments, as Hyper-SD's first stage does it
(Ren et al. 2024, arXiv:2404.13686).

Times are variance-preserving, t in [0.02, 0.98] with α = cos(πt/2) and σ = sin(πt/2); the network is asked in the convention of
`engine.diffusion`, at x/α with noise σ/α = tan(πt/2).
"""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.tasks.points_2d.data import two_moons

T_MIN, T_MAX, BATCH = 0.02, 0.98, 256
SOLVER_POINTS, EMA = 32, 0.95
SAMPLER_TIMES = (0.98, 0.75, 0.5, 0.25)

CONFIG = {"inputs": 2, "width": 96, "layers": 3, "sigma_data": 0.676, "sampler_steps": 100, "sigma_min": 0.03142, "sigma_max": 31.82}
"""Of the network `vp_mlp`; its levels reach from t = 0.02 to 0.98."""

Draw = Callable[[int], Tensor]


def noise_level(t: Tensor) -> Tensor:
    """σ/α = tan(πt/2)."""
    return torch.tan(math.pi / 2 * t)


def base_config() -> dict[str, Any]:
    """The configuration of the starting model, with the noise levels of its four steps."""
    return {**CONFIG, "levels": [math.tan(math.pi / 2 * t) for t in SAMPLER_TIMES]}


def at_time(x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """x₀ + σ·noise, (rows, 2) and t (rows,): the state at time t, divided by α."""
    return x0 + noise_level(t)[:, None] * noise


def jump(x: Tensor, x0: Tensor, *, t: Tensor, to: Tensor) -> Tensor:
    """Ψ: the deterministic (DDIM) step from time t to `to` along the prediction x0, for states divided by α; x itself where they are equal."""
    kept = (noise_level(to) / noise_level(t))[:, None]
    return x0 + kept * (x - x0)


def linear_adam(model: nn.Module, *, rate: float, steps: int, last: float) -> Iterator[torch.optim.Adam]:
    """One Adam optimizer for `steps` updates, its rate falling from `rate` to `last` on a line."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate + (last - rate) * step / max(1, steps - 1)
        yield optimizer


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, parameters: list[nn.Parameter], *, clip: float | None = None) -> None:
    """One update."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(parameters, clip)
    optimizer.step()


def regressed(
    model: nn.Module, draw: Draw, *, steps: int, rate: float, last: float, clip: float | None, generator: torch.Generator
) -> Iterator[None]:
    """mean ‖D − x₀‖² at uniform times, in place; `draw` gives clean points (rows, 2). Yields after each update."""
    parameters = list(model.parameters())
    for optimizer in linear_adam(model, rate=rate, steps=steps, last=last):
        x0, t = draw(BATCH), T_MIN + (T_MAX - T_MIN) * torch.rand(BATCH, generator=generator)
        predicted = model(at_time(x0, t, torch.randn(x0.shape, generator=generator)), noise_level(t), None)
        descend(optimizer, F.mse_loss(predicted, x0), parameters, clip=clip)
        yield


def segment_start(n: Tensor, segments: int) -> Tensor:
    """Grid number of the lower edge of the segment that grid number n = 1 … N lies in; an edge belongs to the segment below it."""
    length = SOLVER_POINTS // segments
    return (n - 1) // length * length


def make_consistent(model: nn.Module, teacher: nn.Module, draw: Draw, *, segments: int, steps: int, generator: torch.Generator) -> None:
    """One stage of trajectory-segmented consistency distillation, in place: from t_n the student must jump to any earlier time of the same
    segment as it would, by its moving average, from where the teacher's one solver step leads."""
    grid = torch.linspace(T_MIN, T_MAX, SOLVER_POINTS + 1)
    average = copy.deepcopy(model).requires_grad_(False)
    parameters = list(model.parameters())
    for optimizer in linear_adam(model, rate=1e-3, steps=steps, last=1e-5):
        x0, n = draw(BATCH), torch.randint(1, SOLVER_POINTS + 1, (BATCH,), generator=generator)
        start = segment_start(n, segments)
        end = start + (torch.rand(BATCH, generator=generator) * (n - start)).long()  # uniform on start … n − 1
        t, before, to = grid[n], grid[n - 1], grid[end]
        x = at_time(x0, t, torch.randn(x0.shape, generator=generator))
        with torch.no_grad():
            solved = jump(x, teacher(x, noise_level(t), None), t=t, to=before)
            target = jump(solved, average(solved, noise_level(before), None), t=before, to=to)
        predicted = jump(x, model(x, noise_level(t), None), t=t, to=to)
        alpha = torch.cos(math.pi / 2 * to)[:, None]  # the error is that of the variance-preserving states
        descend(optimizer, F.mse_loss(alpha * predicted, alpha * target), parameters)
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), parameters, strict=True):
                slow.lerp_(fast, 1 - EMA)


def train_base(model: nn.Module, seed: int) -> None:
    """The starting model, in place: 2,500 steps of denoising, then 700 of consistency in four segments and 700 in one."""
    generator = torch.Generator().manual_seed(seed)

    def draw(rows: int) -> Tensor:
        return two_moons(rows, generator)

    for _ in regressed(model, draw, steps=2500, rate=2e-3, last=1e-5, clip=1.0, generator=generator):
        pass
    teacher = copy.deepcopy(model).requires_grad_(False)
    for segments in (4, 1):
        make_consistent(model, teacher, draw, segments=segments, steps=700, generator=generator)
