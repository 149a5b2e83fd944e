"""Accounts of differential privacy: what training on noisy, clipped sums over random batches has revealed of any one record.

Opacus computes the Rényi curve of the subsampled Gaussian mechanism and turns it into ε(δ); here are the account that a run keeps, and the
search for the noise that a budget needs. Opacus, and with it torch, is imported when something is computed: a card may import this module.
"""

import math
import warnings
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

ORDERS: tuple[float, ...] = (*(1 + tenth / 10 for tenth in range(1, 100)), *range(12, 64))
"""The orders a of Rényi divergence over which ε is minimized: 1.1, 1.2, … 10.9 and 12 … 63, Opacus' own."""
ORDERS_IN_WORDS = "1.1, 1.2, … 10.9, 12, 13, … 63"

TOLERANCE = 0.001
FIRST_UPPER_END, LARGEST_NOISE = 10.0, 1e6


@dataclass(frozen=True)
class Spent:
    """(ε, δ) with the order that gave the smallest ε."""

    epsilon: float
    delta: float
    order: float


class Account:
    """What was released so far: (noise multiplier σ, sampling rate q, steps) for each stretch of equal steps, in order.

    σ is the noise's standard deviation on the sum over that sum's sensitivity; q the chance of each record to be in a batch.
    """

    def __init__(self) -> None:
        self.stretches: list[tuple[float, float, int]] = []

    def step(self, *, noise_multiplier: float, sampling_rate: float) -> None:
        """One more release."""
        if self.stretches and self.stretches[-1][:2] == (noise_multiplier, sampling_rate):
            self.stretches[-1] = (noise_multiplier, sampling_rate, self.steps_of_last + 1)
        else:
            self.stretches.append((noise_multiplier, sampling_rate, 1))

    @property
    def steps_of_last(self) -> int:
        return self.stretches[-1][2] if self.stretches else 0

    @property
    def steps(self) -> int:
        """All releases."""
        return sum(steps for _, _, steps in self.stretches)

    def spent(self, delta: float) -> Spent:
        """ε at this δ: the curves of all stretches added order by order, then the minimum over `ORDERS`. Infinite where there was no noise."""
        return spent(self.stretches, delta=delta)

    def state_dict(self) -> dict[str, Any]:
        return {"stretches": [list(each) for each in self.stretches]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stretches = [(float(noise), float(rate), int(steps)) for noise, rate, steps in state["stretches"]]


def spent(stretches: list[tuple[float, float, int]], *, delta: float) -> Spent:
    """ε(δ) = min over orders a of Σ steps·RDP(a) + log((a − 1)/a) − (log δ + log a)/(a − 1): Balle et al. (2020), arXiv:1905.09982, theorem 21."""
    from opacus.accountants.analysis.rdp import get_privacy_spent

    if any(noise == 0 for noise, _, _ in stretches):
        return Spent(math.inf, delta, math.nan)
    if not stretches:
        return Spent(0.0, delta, math.nan)
    curve = sum(steps * curve_of_step(noise, rate) for noise, rate, steps in stretches)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the best order is the first or last of the grid: Spent says which it was
        epsilon, order = get_privacy_spent(orders=list(ORDERS), rdp=curve, delta=delta)
    return Spent(max(0.0, float(epsilon)), delta, float(order))


@cache
def curve_of_step(noise_multiplier: float, sampling_rate: float) -> "np.ndarray[Any, Any]":
    """RDP(a) of one release for each a of `ORDERS`: Mironov, Talwar & Zhang (2019), arXiv:1908.10530, section 3.3."""
    import numpy as np
    from opacus.accountants.analysis.rdp import compute_rdp

    return np.asarray(compute_rdp(q=sampling_rate, noise_multiplier=noise_multiplier, steps=1, orders=list(ORDERS)))


def smallest_epsilon(delta: float) -> float:
    """What no noise can go below at this δ: the conversion with a curve of 0. Without torch, so that a form can refuse a target at once."""
    return max(0.0, min(math.log((a - 1) / a) - (math.log(delta) + math.log(a)) / (a - 1) for a in ORDERS))


def noise_for(*, epsilon: float, delta: float, sampling_rate: float, steps: int) -> float:
    """The smallest σ, to a few digits, whose ε after `steps` releases is at most `epsilon`: at least `epsilon` − 0.001, or σ to a part in 10⁹.

    By bisection, from 10 upwards doubled until it is enough. The σ that is returned never exceeds the target. Raises ValueError where no
    noise is enough.
    """
    if epsilon <= smallest_epsilon(delta):
        raise ValueError(f"no noise gives ε = {epsilon:g} at δ = {delta:g}; the least is {smallest_epsilon(delta):.4f}")

    def epsilon_at(noise: float) -> float:
        return spent([(noise, sampling_rate, steps)], delta=delta).epsilon

    low, high = 0.0, FIRST_UPPER_END
    while (reached := epsilon_at(high)) > epsilon:
        low, high = high, 2 * high
        if high > LARGEST_NOISE:
            raise ValueError(f"ε = {epsilon:g} at δ = {delta:g} would need more noise than σ = {LARGEST_NOISE:g}")
    while epsilon - reached > TOLERANCE and high - low > 1e-9 * high:
        middle = (low + high) / 2
        found = epsilon_at(middle)
        if found <= epsilon:
            high, reached = middle, found
        else:
            low = middle
    return high
