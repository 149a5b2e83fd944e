"""Two moons, a reward with one maximum: the tuned generator against its start, and against plain regression on the best of its samples."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.evidence.experiment import Arm, Claim, Evidence, Finding, Results

if TYPE_CHECKING:
    from torch import nn

    from engine.tasks.points_2d.task import Points2D

REWARD = "near:-0.6,0.6"
OPTIONS = {"reward": REWARD}
SAMPLES_FOR_NAIVE = 8000


def tuned(**settings: Any) -> Any:
    """A run of 300 batches of 128 pairs, three updates each."""
    return lambda seed: {
        "method": "pso",
        "task": "points-2d",
        "task_options": OPTIONS,
        "seed": seed,
        "settings": {"reward": REWARD, **settings},
    }


def base(seed: int, folders: Mapping[str, Path]) -> Mapping[str, float | None]:
    """Makes the starting model of a seed, and lays its folder with those of the arms that ran, so that the others can go on from it."""
    import torch

    from engine.methods.pso.starting_generator import base_config, train_base
    from engine.models.build import build
    from engine.run.export import save_model
    from engine.tasks.points_2d.card import card

    config = base_config()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build("vp_mlp", config)
    with one_thread():
        train_base(model, seed)
    folder = Path(place().name) / f"base-{seed}" / "student"
    meta = {"kind": "generator", "task": card.id, "builder": "vp_mlp", "config": config, "architecture": "generator, 4 steps"}
    folder.parent.mkdir(exist_ok=True)
    save_model(folder, model, {**meta, "classes": None, "input_shape": [2]})
    assert isinstance(folders, dict), "the folders of a seed's arms are kept in a dict"
    folders["base"] = folder
    return judged(model)


def naive(seed: int, folders: Mapping[str, Path]) -> Mapping[str, float | None]:
    """Plain denoising on the best quarter of 8,000 samples of the starting model."""
    import torch

    from engine import rewards
    from engine.methods.pso.starting_generator import regress_on_best
    from engine.models.points import VpMlp
    from engine.run.export import load_model

    model, _ = load_model(folders["base"])
    assert isinstance(model, VpMlp)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        samples = model.sample(torch.randn(SAMPLES_FOR_NAIVE, 2, generator=generator), None, generator)
    [score] = rewards.rewards(REWARD)
    with one_thread():
        regress_on_best(model, samples, score(samples, None), seed)
    return judged(model)


def judged(model: "nn.Module") -> Mapping[str, float | None]:
    """The test metrics of a model that is no run's, as the final evaluation of a run has them."""
    import torch

    with torch.no_grad():
        return points().judge(model.eval(), "test", teacher=None, final=True).metrics


@cache
def points() -> "Points2D":
    import torch

    from engine.tasks.points_2d.card import Options
    from engine.tasks.points_2d.task import Points2D

    return Points2D(Options.model_validate(OPTIONS), torch.device("cpu"))


@cache
def place() -> tempfile.TemporaryDirectory[str]:
    """Where starting models are, until the program ends."""
    return tempfile.TemporaryDirectory(prefix="stillhouse-pso-")


@contextmanager
def one_thread() -> Iterator[None]:
    """As the runs of the other arms."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# Claims


def pairs(results: Results, metric: str, arm: str, other: str) -> list[tuple[float, float]]:
    return list(zip(results.of(arm, metric), results.of(other, metric), strict=True))


def rises_by_half(results: Results) -> Finding:
    gains = [ours - theirs for ours, theirs in pairs(results, "reward", "pso", "base")]
    return Finding(min(gains) > 0.5, f"reward rises by {min(gains):.3f} to {max(gains):.3f} over the seeds")


def stays_on_the_data(results: Results) -> Finding:
    shares = [ours / theirs for ours, theirs in pairs(results, "nearest_distance", "pso", "naive")]
    leads = [ours - theirs for ours, theirs in pairs(results, "reward", "pso", "naive")]
    numbers = (
        f"distance to the data {min(shares):.2f} to {max(shares):.2f} of naive's, reward {min(leads):+.4f} to {max(leads):+.4f} above it"
    )
    return Finding(max(shares) < 0.6 and min(leads) >= 0, numbers)


evidence = Evidence(
    method="pso",
    protocol="""
Two moons with unequal weights (task `points-2d`), fresh draws for training; validation and test are 4,000 points each, from generators of their own.

The starting model has three layers of 96 with SiLU that predict the clean point at α = cos(πt/2), σ = sin(πt/2): 2,500 steps of denoising (Adam, 0.002
falling to 0.00001 on a line, batch 256, gradient norm at most 1), then trajectory-segmented consistency distillation with 4 and with 1 segments, 700 steps
each (Adam, 0.001 to 0.00001, moving average 0.95, 32 solver points). It is sampled in four steps by re-noising at t = 0.98, 0.75, 0.5, 0.25.

The reward is minus the squared distance to (−0.6, 0.6), a point of the upper moon. PSO makes 300 batches of 128 fresh pairs and three AdamW updates with
each, constant rate, weight decay 10⁻⁶, gradient norm at most 1; the arms name β, clip and rate. The naive arm is plain denoising (uniform t, batch 256,
1,200 Adam steps, 0.0002 falling to 0) on the best quarter by reward of 8,000 samples of the starting model. Nothing was chosen on these seeds: settings
and thresholds are the specification's, which were set on other ones.

Numbers are of 2,000 samples from one set of noise: mean reward, and mean distance to the nearest of the 4,000 held-out points. Win rate, drift and clip
fraction are the method's own diagnostics at the end, on validation. Energy distance is debiased (a point with itself is not counted).
""",
    arms=(
        Arm(id="base", title="starting model", measured=base),
        Arm(id="naive", title="naive: denoising on the best quarter", measured=naive),
        Arm(id="pso", title="PSO, β 1, clip 0.9…1.1", student="base", spec=tuned()),
        Arm(id="pso-wide", title="PSO, β 1, clip 0.05…20", student="base", spec=tuned(ratio_low=0.05, ratio_high=20.0)),
        Arm(id="pso-5", title="PSO, β 5, clip 0.2…5", student="base", spec=tuned(beta=5.0, ratio_low=0.2, ratio_high=5.0)),
        Arm(id="pso-50", title="PSO, β 50, clip 0.9…1.1, rate 0.001", student="base", spec=tuned(beta=50.0, learning_rate=1e-3)),
    ),
    baseline="base",
    metrics=(
        "reward",
        "nearest_distance",
        "energy_distance",
        "validation/win_rate",
        "validation/drift",
        "validation/clip_fraction",
    ),
    claims=(
        Claim("In every seed PSO with β 1 raises the reward by more than 0.5.", rises_by_half),
        Claim("In every seed PSO's distance to the data is below 0.6 of naive's, at a reward that is not lower.", stays_on_the_data),
    ),
    notes="""
- A reward with one maximum draws every sample to it: the energy distance of about 0.7 and the spread that is lost are what was asked for, and no sign of
  a good generator. That is why drift is shown beside the reward.
- It is β and not the clip that holds the paper's setting near the start: the sigmoid is saturated once the margin of mean log-ratios exceeds a few
  hundredths.
""",
    published="""
Miao et al. (2024) tune SDXL-Turbo, SDXL-DMD2 and SDXL-LCM to PickScore, and to styles and concepts; neither those models nor that score is at hand. What
is checked here is the mechanism: that likelihood margins on a few-step sampler raise a reward, and without the blur of a plain denoising loss.
""",
)
