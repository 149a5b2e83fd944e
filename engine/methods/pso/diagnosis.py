"""What is watched of a run: the signs of every update, and how the tuned generator stands beside its start."""

from typing import Final

import torch
from torch import Tensor

from engine.metrics.distances import energy_distance, spread_within

SIGNS: Final = ("implicit_accuracy", "clip_fraction", "log_ratio_winner", "log_ratio_loser")
BESIDE_START: Final = ("reward_tuned", "reward_start", "win_rate", "drift", "drift_share")


def online_signs(logits: Tensor, *, ratios: Tensor, preferred: Tensor, low: float, high: float) -> Tensor:
    """What SIGNS names, (4,), from the logits (rows,) without β of a transition, its log-ratios (rows, 2) before the clip, and preferences
    (rows, 2)."""
    logits, ratios = logits.detach(), ratios.detach()
    clipped = ((ratios.exp() < low) | (ratios.exp() > high)).float().mean()
    won, lost = (mean_where(ratios, chosen) for chosen in (preferred > 0, preferred < 0))
    return torch.stack([(logits > 0).float().mean(), clipped, won, lost])


def offline_signs(logits: Tensor) -> Tensor:
    """What SIGNS names, (4,): offline there is no likelihood, so all but the accuracy are 0."""
    accuracy = (logits.detach() > 0).float().mean()
    return torch.stack([accuracy, *[torch.zeros_like(accuracy)] * (len(SIGNS) - 1)])


def mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of values where chosen, of the same shape; 0 when none is."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)


def beside_start(*, start: Tensor, tuned: Tensor, start_rewards: Tensor, tuned_rewards: Tensor) -> dict[str, float]:
    """What BESIDE_START names, from samples (rows, …) that began with the same noise and their rewards (rows, kinds)."""
    before, after = start_rewards.double(), tuned_rewards.double()
    drift = energy_distance(start.flatten(1), tuned.flatten(1))
    return {
        "reward_tuned": float(after.mean()),
        "reward_start": float(before.mean()),
        "win_rate": float(((after > before).double() + 0.5 * (after == before)).mean()),
        "drift": drift,
        "drift_share": drift / spread_within(start.flatten(1), None),
    }
