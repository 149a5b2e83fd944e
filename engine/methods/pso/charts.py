"""Pictures of a tuned generator beside its start, from samples that began with the same noise."""

import torch
from torch import Tensor

from engine import charts
from engine.pictures import png

BINS, POINTS, PICTURES = 30, 400, 12
START, TUNED = "start", "tuned"


def pictures_of(*, start: Tensor, tuned: Tensor, start_rewards: Tensor, tuned_rewards: Tensor, reward: str) -> dict[str, charts.ChartSpec]:
    """Samples (rows, …) and their mean rewards (rows,) → charts by name: the rewards' histograms, and the samples of points or pictures."""
    found = {"reward_histogram": rewards_chart(start_rewards, tuned_rewards, reward)}
    if start.dim() == 2 and start.shape[1] == 2:
        found["samples_beside_start"] = charts.scatter(
            "Samples from the same noise",
            {name: _xy(points[:POINTS]) for name, points in ((START, start), (TUNED, tuned))},
            x="x",
            y="y",
            square=True,
        )
    if start.dim() == 4:
        found["samples_beside_start"] = charts.images(
            "Samples from the same noise",
            {name: [png((1 - picture) / 2) for picture in rows[:PICTURES]] for name, rows in ((START, start), (TUNED, tuned))},
            note="Each column begins with the same noise. Ink is dark.",
        )
    return found


def rewards_chart(start: Tensor, tuned: Tensor, reward: str) -> charts.ChartSpec:
    """Histograms of both, (rows,) each, over one range."""
    both = torch.cat([start, tuned]).float().cpu()
    low, high = float(both.min()), float(both.max())
    if high <= low:
        low, high = low - 0.5, low + 0.5
    counts = {name: each.float().cpu().histc(BINS, low, high).int().tolist() for name, each in ((START, start), (TUNED, tuned))}
    return charts.histogram(f"Reward of samples: {reward}", torch.linspace(low, high, BINS + 1).tolist(), counts, x="reward")


def _xy(points: Tensor) -> tuple[list[float], list[float]]:
    rounded = [[round(value, 3) for value in axis] for axis in points.float().cpu().T.tolist()]
    return rounded[0], rounded[1]
